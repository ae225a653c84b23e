//! The internal structs of Kubernetes, as some of its messages show them: in Go's names and order, whole.

mod diff;
mod structs;

pub(super) use self::structs::{CLAIM_SPEC, VOLUME_SOURCE};

use serde_json::Value;

/// What a field holds, and how Go shows it when there is nothing.
#[derive(Clone, Copy, Debug)]
pub(super) enum Form {
    /// Text, `""` when absent.
    Text,
    /// A number, 0 when absent.
    Number,
    /// `false` when absent.
    Flag,
    /// A pointer, a list or a map, shown as it is; `null` when absent.
    Plain,
    /// A struct that is always there.
    Struct(&'static [Field]),
    /// A pointer to a struct; `null` when absent.
    Pointer(&'static [Field]),
}

/// A field: its name in Go, its name in documents, what it holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field(
    pub(super) &'static str,
    pub(super) &'static str,
    pub(super) Form,
);

/// What has changed of a struct, as a unified diff.
pub(super) fn changes(old: &Value, new: &Value, fields: &[Field]) -> String {
    let lines = |value: &Value| -> Vec<String> {
        let mut writer = Writer::default();
        writer.fields(value, fields);
        writer.text.lines().map(str::to_owned).collect()
    };
    diff::unified(&lines(old), &lines(new))
}

/// Writes JSON as Go does with one space of indentation.
#[derive(Default)]
struct Writer {
    text: String,
    depth: usize,
}

impl Writer {
    fn fields(&mut self, value: &Value, fields: &[Field]) {
        self.open('{');
        for (index, Field(name, key, form)) in fields.iter().enumerate() {
            self.next(index);
            self.key(name);
            let inner = value.get(key).filter(|inner| !inner.is_null());
            match (form, inner) {
                (Form::Struct(fields), inner) => self.fields(inner.unwrap_or(&Value::Null), fields),
                (Form::Pointer(fields), Some(inner)) => self.fields(inner, fields),
                (Form::Text, None) => self.text.push_str("\"\""),
                (Form::Number, None) => self.text.push('0'),
                (Form::Flag, None) => self.text.push_str("false"),
                (Form::Plain | Form::Pointer(_), None) => self.text.push_str("null"),
                (_, Some(inner)) => self.value(inner),
            }
        }
        self.close('}', fields.is_empty());
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Object(map) => {
                self.open('{');
                for (index, (key, inner)) in map.iter().enumerate() {
                    self.next(index);
                    self.key(key);
                    self.value(inner);
                }
                self.close('}', map.is_empty());
            }
            Value::Array(items) => {
                self.open('[');
                for (index, item) in items.iter().enumerate() {
                    self.next(index);
                    self.value(item);
                }
                self.close(']', items.is_empty());
            }
            scalar => self.text.push_str(&scalar.to_string()),
        }
    }

    fn open(&mut self, bracket: char) {
        self.text.push(bracket);
        self.depth += 1;
    }

    fn next(&mut self, index: usize) {
        if index > 0 {
            self.text.push(',');
        }
        self.line();
    }

    fn key(&mut self, key: &str) {
        self.text.push_str(&Value::from(key).to_string());
        self.text.push_str(": ");
    }

    fn close(&mut self, bracket: char, empty: bool) {
        self.depth -= 1;
        if !empty {
            self.line();
        }
        self.text.push(bracket);
    }

    fn line(&mut self) {
        self.text.push('\n');
        self.text.extend(std::iter::repeat_n(' ', self.depth));
    }
}

/// Whether two documents agree in what the struct holds.
pub(super) fn same(old: &Value, new: &Value, fields: &[Field]) -> bool {
    let given = |value: &Value, key: &str| value.get(key).filter(|inner| !inner.is_null()).cloned();
    fields
        .iter()
        .all(|Field(_, key, _)| given(old, key) == given(new, key))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn differences() {
        let with = |path: &str| json!({ "hostPath": { "path": path, "type": "" } });
        assert_eq!(
            changes(&with("/x"), &with("/other"), VOLUME_SOURCE),
            "@@ -2,7 +2,7 @@\n  \"GCEPersistentDisk\": null,\n  \"AWSElasticBlockStore\": null,\n  \"HostPath\": {\n-  \"Path\": \"/x\",\n+  \"Path\": \"/other\",\n   \"Type\": \"\"\n  },\n  \"Glusterfs\": null,\n"
        );
        let claim =
            |volume: &str, class: &str| json!({ "volumeName": volume, "storageClassName": class });
        assert_eq!(
            changes(&claim("", "a"), &claim("v", "b"), CLAIM_SPEC),
            "@@ -5,8 +5,8 @@\n   \"Limits\": null,\n   \"Requests\": null\n  },\n- \"VolumeName\": \"\",\n- \"StorageClassName\": \"a\",\n\
             + \"VolumeName\": \"v\",\n+ \"StorageClassName\": \"b\",\n  \"VolumeMode\": null,\n  \"DataSource\": null,\n  \"DataSourceRef\": null,\n"
        );
        assert_eq!(changes(&json!({}), &json!({}), CLAIM_SPEC), "");
    }
}
