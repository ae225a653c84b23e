//! Properties whose names are no names of the language (`k8s.io/apiserver/pkg/cel/escaping.go`).
use crate::object::name::CEL_RESERVED;

/// The name by which expressions refer to a property; `None`: they cannot.
pub(crate) fn escape(name: &str) -> Option<String> {
    if name.is_empty() {
        return None;
    }
    if CEL_RESERVED.contains(&name) {
        return Some(format!("__{name}__"));
    }
    if name.starts_with(|character: char| character.is_ascii_digit()) {
        return None;
    }
    let mut escaped = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(character) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("__") {
            escaped.push_str("__underscores__");
            rest = after;
            continue;
        }
        match character {
            '.' => escaped.push_str("__dot__"),
            '-' => escaped.push_str("__dash__"),
            '/' => escaped.push_str("__slash__"),
            _ if character.is_ascii_alphanumeric() || character == '_' => escaped.push(character),
            _ => return None,
        }
        rest = rest.get(character.len_utf8()..).unwrap_or_default();
    }
    Some(escaped)
}
