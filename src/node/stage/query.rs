//! Where to look in an object: the part of the jq language that KWOK's stages use. Pure.
//!
//! `.a.b`, `.a["b"]`, `.a[0]`, `.a[]` and `.a.[]`, and filters behind `|`: paths, and `select(.a == "b")`.

use serde_json::Value;

use super::literal;

/// A query that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Query(Vec<Filter>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Filter {
    Path(Vec<Step>),
    /// Lets through what has this value there (or another one).
    Select(Vec<Step>, bool, Value),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(usize),
    Each,
}

impl Query {
    /// Reads a query.
    ///
    /// # Errors
    /// What of it is not understood.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut reader = Reader(text.trim());
        let mut filters = Vec::new();
        loop {
            filters.push(reader.filter()?);
            reader.space();
            if reader.0.is_empty() {
                return Ok(Self(filters));
            }
            reader.expect("|")?;
            reader.space();
        }
    }

    /// What is there; `None`: nothing can be, for something on the way is of another kind.
    pub(super) fn find<'a>(&self, value: &'a Value) -> Option<Vec<&'a Value>> {
        let mut found = vec![value];
        for filter in &self.0 {
            let mut next = Vec::new();
            for one in found {
                match filter {
                    Filter::Path(steps) => walk(one, steps, &mut next)?,
                    Filter::Select(steps, same, wanted) => {
                        let mut there = Vec::new();
                        walk(one, steps, &mut there)?;
                        let holds = there.into_iter().filter(|own| (*own == wanted) == *same);
                        next.extend(holds.map(|_| one));
                    }
                }
            }
            found = next;
        }
        Some(found)
    }
}

fn walk<'a>(value: &'a Value, steps: &[Step], found: &mut Vec<&'a Value>) -> Option<()> {
    let Some((step, rest)) = steps.split_first() else {
        found.push(value);
        return Some(());
    };
    match (step, value) {
        (Step::Key(_) | Step::Index(_), Value::Null) => walk(&Value::Null, rest, found),
        (Step::Key(key), Value::Object(fields)) => {
            walk(fields.get(key).unwrap_or(&Value::Null), rest, found)
        }
        (Step::Index(at), Value::Array(items)) => {
            walk(items.get(*at).unwrap_or(&Value::Null), rest, found)
        }
        (Step::Each, Value::Array(items)) => {
            items.iter().try_for_each(|item| walk(item, rest, found))
        }
        (Step::Each, Value::Object(fields)) => {
            fields.values().try_for_each(|item| walk(item, rest, found))
        }
        _ => None,
    }
}

struct Reader<'a>(&'a str);

impl Reader<'_> {
    fn space(&mut self) {
        self.0 = self.0.trim_start();
    }

    fn expect(&mut self, text: &str) -> Result<(), String> {
        match self.0.strip_prefix(text) {
            Some(rest) => {
                self.0 = rest;
                Ok(())
            }
            None => Err(format!("expected {text:?} at {:?}", self.0)),
        }
    }

    fn takes(&mut self, text: &str) -> bool {
        self.expect(text).is_ok()
    }

    fn filter(&mut self) -> Result<Filter, String> {
        if !self.takes("select") {
            return Ok(Filter::Path(self.path()?));
        }
        self.space();
        self.expect("(")?;
        self.space();
        let path = self.path()?;
        self.space();
        let same = self.takes("==");
        if !same {
            self.expect("!=")?;
        }
        self.space();
        let wanted = self.literal()?;
        self.space();
        self.expect(")")?;
        Ok(Filter::Select(path, same, wanted))
    }

    fn path(&mut self) -> Result<Vec<Step>, String> {
        if !self.0.starts_with('.') {
            return Err(format!("not supported: {:?}", self.0));
        }
        let mut steps = Vec::new();
        loop {
            if self.takes("[") || self.takes(".[") {
                steps.push(self.bracket()?);
            } else if self.takes(".") {
                let rest = self.0;
                let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
                let length = rest.bytes().take_while(|byte| is_name(*byte)).count();
                let (name, rest) = rest.split_at(length);
                if name.is_empty() {
                    if steps.is_empty() {
                        return Ok(steps);
                    }
                    return Err(format!("expected a name at {rest:?}"));
                }
                self.0 = rest;
                steps.push(Step::Key(name.to_owned()));
            } else {
                return Ok(steps);
            }
        }
    }

    /// What is in brackets, of which the first was read.
    fn bracket(&mut self) -> Result<Step, String> {
        if self.takes("]") {
            return Ok(Step::Each);
        }
        let step = match self.literal()? {
            Value::String(key) => Step::Key(key),
            Value::Number(at) => {
                let at = at.as_u64().and_then(|at| usize::try_from(at).ok());
                Step::Index(at.ok_or("not supported: an index that is negative or broken")?)
            }
            other => return Err(format!("not supported: [{other}]")),
        };
        self.expect("]")?;
        Ok(step)
    }

    fn literal(&mut self) -> Result<Value, String> {
        match literal(self.0) {
            Some((value, rest)) => {
                self.0 = rest;
                Ok(value)
            }
            None => Err(format!("expected a value at {:?}", self.0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_found() {
        let object = json!({
            "metadata": {"annotations": {"a.b/c": "x"}, "ownerReferences": [{"kind": "Job"}, {"kind": "Node"}]},
            "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Other"}]},
        });
        for (query, expected) in [
            (".metadata.absent.deeper", Some(json!([null]))),
            (".metadata.annotations[\"a.b/c\"]", Some(json!(["x"]))),
            (
                ".metadata.ownerReferences.[].kind",
                Some(json!(["Job", "Node"])),
            ),
            (
                ".metadata.ownerReferences[].kind",
                Some(json!(["Job", "Node"])),
            ),
            (".metadata.ownerReferences[1].kind", Some(json!(["Node"]))),
            (
                ".status.conditions.[] | select( .type == \"Ready\" ) | .status",
                Some(json!(["True"])),
            ),
            (
                ".status.conditions[] | select(.type != \"Ready\") | .status",
                Some(json!([null])),
            ),
            (".absent[]", None),
            (".metadata.annotations[0]", None),
        ] {
            let found = Query::parse(query).unwrap();
            let found = found.find(&object).map(|found| json!(found));
            assert_eq!(found, expected, "{query}");
        }
    }

    #[test]
    fn what_is_not_understood() {
        for query in [
            "",
            "a",
            ".a | length",
            ".a..b",
            ".a[",
            "select(.a)",
            ".a + 1",
            ".a[-1]",
        ] {
            assert!(Query::parse(query).is_err(), "{query}");
        }
    }
}
