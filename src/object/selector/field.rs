//! Field selectors: `metadata.name=x,spec.nodeName!=y` (`k8s.io/apimachinery/pkg/fields`).

use std::fmt;

/// A parsed field selector. The default selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector {
    /// Its terms, all of which must hold.
    pub terms: Vec<FieldTerm>,
}

/// One term of a field selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldTerm {
    /// The field label.
    pub field: String,
    /// Whether the field must be equal to the value (`=`, `==`), or must not be (`!=`).
    pub equal: bool,
    /// The value, unescaped.
    pub value: String,
}

impl FieldSelector {
    /// Parses a field selector; in values, `\\`, `\,` and `\=` stand for the character after the backslash.
    ///
    /// # Errors
    /// The text that Kubernetes gives for it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut terms = Vec::new();
        for part in split_terms(text)
            .into_iter()
            .filter(|part| !part.is_empty())
        {
            let (field, equal, value) = split_term(part)
                .ok_or_else(|| format!("invalid selector: '{text}'; can't understand '{part}'"))?;
            terms.push(FieldTerm {
                field: field.to_owned(),
                equal,
                value: unescape(value)?,
            });
        }
        Ok(Self { terms })
    }

    /// Whether it selects everything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// The value that `field` must equal, if a term says so.
    #[must_use]
    pub fn requires(&self, field: &str) -> Option<&str> {
        self.terms
            .iter()
            .find(|term| term.equal && term.field == field)
            .map(|term| term.value.as_str())
    }

    /// Whether an object fits whose fields `lookup` gives. A field it does not have counts as empty.
    pub fn matches_with<'a>(&self, lookup: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.terms
            .iter()
            .all(|term| (lookup(&term.field).unwrap_or_default() == term.value) == term.equal)
    }
}

impl fmt::Display for FieldSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, term) in self.terms.iter().enumerate() {
            let separator = if index == 0 { "" } else { "," };
            let operator = if term.equal { "=" } else { "!=" };
            write!(f, "{separator}{}{operator}", term.field)?;
            for character in term.value.chars() {
                if matches!(character, '\\' | ',' | '=') {
                    f.write_str("\\")?;
                }
                write!(f, "{character}")?;
            }
        }
        Ok(())
    }
}

/// Splits at commas that no backslash stands before.
fn split_terms(text: &str) -> Vec<&str> {
    let (mut terms, mut start, mut escaped) = (Vec::new(), 0, false);
    for (index, byte) in text.bytes().enumerate() {
        if escaped {
            escaped = false;
        } else if byte == b'\\' {
            escaped = true;
        } else if byte == b',' {
            terms.push(&text[start..index]);
            start = index + 1;
        }
    }
    terms.push(&text[start..]);
    terms
}

/// Splits at the first operator.
fn split_term(term: &str) -> Option<(&str, bool, &str)> {
    let index = term.find(['=', '!'])?;
    let (field, rest) = term.split_at(index);
    if let Some(value) = rest.strip_prefix("!=") {
        return Some((field, false, value));
    }
    match rest.strip_prefix("==").or_else(|| rest.strip_prefix('=')) {
        Some(value) => Some((field, true, value)),
        // A lone `!` belongs to the field's name: look behind it.
        None => split_term(&rest[1..])
            .map(|(more, equal, value)| (&term[..=index + more.len()], equal, value)),
    }
}

fn unescape(value: &str) -> Result<String, String> {
    let mut text = String::with_capacity(value.len());
    let mut characters = value.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => match characters.next() {
                Some(escaped @ ('\\' | ',' | '=')) => text.push(escaped),
                Some(other) => {
                    return Err(format!(
                        "invalid field selector: invalid escape sequence: \\{other}"
                    ));
                }
                None => {
                    return Err("invalid field selector: invalid escape sequence: \\".to_owned());
                }
            },
            ',' | '=' => {
                return Err(format!(
                    "invalid field selector: unescaped character in value: {}",
                    u32::from(character)
                ));
            }
            other => text.push(other),
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parses_and_matches() {
        let selector =
            FieldSelector::parse("metadata.name==a,spec.nodeName!=n1,status.phase=").unwrap();
        assert_eq!(selector.requires("metadata.name"), Some("a"));
        let fields = |node: &'static str| {
            move |field: &str| match field {
                "metadata.name" => Some("a"),
                "spec.nodeName" => Some(node),
                _ => None,
            }
        };
        assert!(selector.matches_with(fields("n2")));
        assert!(!selector.matches_with(fields("n1")));
    }

    #[test]
    fn refusals() {
        for (text, error) in [
            ("foo", "invalid selector: 'foo'; can't understand 'foo'"),
            (
                "a in (b)",
                "invalid selector: 'a in (b)'; can't understand 'a in (b)'",
            ),
            (
                "a=b=c",
                "invalid field selector: unescaped character in value: 61",
            ),
        ] {
            assert_eq!(FieldSelector::parse(text), Err(error.to_owned()));
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in "[a-z!=,\\\\. ]*") {
            let _ = FieldSelector::parse(&text);
        }

        #[test]
        fn reads_back_what_it_shows(value in "[a-z,=\\\\]{0,8}", equal: bool) {
            let selector = FieldSelector { terms: vec![FieldTerm { field: "metadata.name".into(), equal, value }] };
            prop_assert_eq!(FieldSelector::parse(&selector.to_string()).unwrap(), selector);
        }
    }
}
