//! What a version has besides its schema: subresources, printer columns, selectable fields, a deprecation warning.
use super::super::schema::Props;
use crate::object::Document;
use crate::object::field::{Errors, Path};
use serde_json::Value;

const COLUMN_TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
const COLUMN_FORMATS: [&str; 8] = [
    "byte",
    "date",
    "date-time",
    "double",
    "float",
    "int32",
    "int64",
    "password",
];
const MOST_SELECTABLE: usize = 8;

/// The paths of the scale subresource.
pub(super) fn subresources(subresources: &Value, path: &Path, errors: &mut Errors) {
    let Some(scale) = subresources.get("scale").filter(|scale| scale.is_object()) else {
        return;
    };
    let path = path.child("scale");
    for (field, roots, needed) in [
        ("specReplicasPath", &[".spec."][..], true),
        ("statusReplicasPath", &[".status."], true),
        ("labelSelectorPath", &[".spec.", ".status."], false),
    ] {
        let (text, at) = (scale.str_at(&[field]), path.child(field));
        if text.is_empty() {
            if needed {
                errors.required(at, "");
            }
        } else if !text.starts_with('.') {
            errors.invalid(at, text, "must be a simple json path starting with .");
        } else if !roots.iter().any(|root| text.starts_with(root)) {
            let why = match roots {
                [one] => format!("should be a json path under {}", one.trim_end_matches('.')),
                _ => "should be a json path under either .spec or .status".to_owned(),
            };
            errors.invalid(at, text, &why);
        }
    }
}

/// One printer column.
pub(super) fn column(column: &Value, path: &Path, errors: &mut Errors) {
    if column.str_at(&["name"]).is_empty() {
        errors.required(path.child("name"), "");
    }
    let types = format!("must be one of {}", COLUMN_TYPES.join(","));
    match column.str_at(&["type"]) {
        "" => errors.required(path.child("type"), &types),
        known if COLUMN_TYPES.contains(&known) => {}
        other => errors.invalid(path.child("type"), other, &types),
    }
    let format = column.str_at(&["format"]);
    if !format.is_empty() && !COLUMN_FORMATS.contains(&format) {
        let why = format!("must be one of {}", COLUMN_FORMATS.join(","));
        errors.invalid(path.child("format"), format, &why);
    }
    let (text, at) = (column.str_at(&["jsonPath"]), path.child("JSONPath"));
    if text.is_empty() {
        errors.required(at, "");
    } else if !text.starts_with('.') {
        errors.invalid(at, text, "must be a simple json path starting with .");
    }
}

/// The fields by which objects can be selected.
pub(super) fn selectable(fields: &[Value], schema: &Props, path: &Path, errors: &mut Errors) {
    let mut seen: Vec<String> = Vec::new();
    for (index, field) in fields.iter().enumerate() {
        let at = path.index(index).child("jsonPath");
        let text = field.str_at(&["jsonPath"]);
        if text.is_empty() {
            errors.required(at, "");
            continue;
        }
        let (names, found) = match field_path(text, schema, false) {
            Ok(found) => found,
            Err(why) => {
                errors.invalid(at, text, &format!("is an invalid path: {why}"));
                continue;
            }
        };
        if names == "metadata" || names.starts_with("metadata.") {
            errors.invalid(at.clone(), text, "must not point to fields in metadata");
        }
        if !matches!(found.type_.as_str(), "string" | "boolean" | "integer") {
            errors.invalid(
                at.clone(),
                text,
                "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.",
            );
        }
        if seen.contains(&names) {
            errors.duplicate(at, text);
        } else {
            seen.push(names);
        }
    }
    if seen.len() > MOST_SELECTABLE {
        errors.too_many(path.clone(), seen.len(), MOST_SELECTABLE);
    }
}

/// What a path of fields and map keys leads to, and the path as field errors write it.
///
/// # Errors
/// Why it leads nowhere.
pub(crate) fn field_path<'a>(
    text: &str,
    schema: &'a Props,
    keys: bool,
) -> Result<(String, &'a Props), String> {
    let (mut path, mut schema) = (Path::default(), schema);
    let mut tokens = tokens(text).into_iter();
    while let Some(token) = tokens.next() {
        let end = || "unexpected end of JSON path".to_owned();
        let name = match token {
            "." => tokens.next().ok_or_else(end)?.to_owned(),
            "[" if !keys => return Err("array notation is not allowed".to_owned()),
            "[" => {
                let token = tokens.next().ok_or_else(end)?;
                let quoted = token
                    .strip_prefix('\'')
                    .and_then(|rest| rest.strip_suffix('\''));
                let name = quoted
                    .filter(|_| token.len() > 1)
                    .ok_or_else(|| format!("expected single quoted string but got {token}"))?;
                unescape(name)?
            }
            other => return Err(format!("expected [ or . but got: {other}")),
        };
        if !schema.properties.is_empty() {
            path = path.child(&name);
            schema = schema
                .properties
                .get(&name)
                .ok_or("does not refer to a valid field")?;
        } else if let Some(additional) = schema.additional_schema() {
            path = path.key(&name);
            schema = additional;
        } else {
            return Err("does not refer to a valid field".to_owned());
        }
        if token == "[" {
            match tokens.next() {
                Some("]") => {}
                Some(other) => return Err(format!("expected ] but got {other}")),
                None => return Err(end()),
            }
        }
    }
    Ok((path.as_str().to_owned(), schema))
}

/// Dots, brackets, and what is between them; a quoted text is one piece.
fn tokens(text: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '.' | '[' | ']' => 1,
            '\'' => {
                let mut end = rest.len();
                let mut escaped = false;
                for (at, character) in rest.char_indices().skip(1) {
                    if character == '\'' && !escaped {
                        end = at + 1;
                        break;
                    }
                    escaped = character == '\\';
                }
                end
            }
            _ => rest.find(['.', '[', ']']).unwrap_or(rest.len()),
        };
        let (token, after) = rest.split_at(length);
        tokens.push(token);
        rest = after;
    }
    tokens
}

fn unescape(text: &str) -> Result<String, String> {
    let mut out = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            out.push(character);
            continue;
        }
        out.push(match characters.next() {
            Some('a') => '\x07',
            Some('b') => '\x08',
            Some('f') => '\x0c',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('v') => '\x0b',
            Some(same @ ('\'' | '\\')) => same,
            other => {
                let other = other.map(String::from).unwrap_or_default();
                return Err(format!(
                    "invalid string literal: invalid escape char \\{other}"
                ));
            }
        });
    }
    Ok(out)
}

/// The warning for clients of a version.
pub(super) fn deprecation(version: &Value, path: &Path, errors: &mut Errors) {
    let Some(warning) = version.get("deprecationWarning").and_then(Value::as_str) else {
        return;
    };
    let mut refuse = |why: &str| errors.invalid(path.clone(), warning, why);
    if version.bool_at(&["deprecated"]) != Some(true) {
        refuse("can only be set for deprecated versions");
        return;
    }
    if warning.len() > 256 {
        refuse("must be <= 256 characters long");
    }
    if warning.is_empty() {
        refuse("must not be an empty string");
    }
    let odd =
        |character: char| character.is_control() || (character.is_whitespace() && character != ' ');
    if let Some((at, _)) = warning
        .char_indices()
        .find(|(_, character)| odd(*character))
    {
        refuse(&format!(
            "must only contain printable UTF-8 characters; non-printable character found at index {at}"
        ));
    }
}
