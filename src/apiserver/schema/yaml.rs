//! YAML bodies, read into the same documents as JSON.
use super::decode::Document;
use serde::de::{DeserializeSeed, Deserializer};
use serde_json::Value;
use std::cell::Cell;

/// A parsed YAML document.
pub(crate) struct Parsed {
    pub(crate) value: Value,
    /// What a strict parser complains of: keys that come twice.
    pub(crate) complaints: Vec<String>,
}

/// A document by way of [`Document`]: serde's own `Value` would lose what YAML allows beyond JSON.
struct Any(Value);

impl<'de> serde::Deserialize<'de> for Any {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let doubled = Cell::new(false);
        Document(&doubled).deserialize(deserializer).map(Self)
    }
}

/// Parses one document. Of keys that come twice the last one counts.
///
/// # Errors
/// The message of what is wrong.
pub(crate) fn parse(bytes: &[u8]) -> Result<Parsed, String> {
    use serde_saphyr::DuplicateKeyPolicy::{Error, LastWins};
    use serde_saphyr::Error::MultipleDocuments;
    let read = |policy| {
        let options = serde_saphyr::options! {
            duplicate_keys: policy,
            legacy_octal_numbers: true,
            // `n` is a name, not a boolean.
            strict_booleans: true,
            with_snippet: false,
        };
        match serde_saphyr::from_slice_with_options::<Any>(bytes, options.clone()) {
            // Only the first document counts.
            Err(error) if matches!(error.without_snippet(), MultipleDocuments { .. }) => {
                serde_saphyr::from_slice_multiple_with_options::<Any>(bytes, options)
                    .map(|documents| documents.into_iter().next().unwrap_or(Any(Value::Null)))
            }
            outcome => outcome,
        }
    };
    let failed = |error: &serde_saphyr::Error| {
        let line = error.location().map_or(0, |location| location.line());
        let text = error.without_snippet().to_string();
        let text = text.lines().next().unwrap_or_default();
        // Where a list or map in flow style breaks off, the real parser has its own words.
        let flow = bytes.trim_ascii_start().first();
        let text = match flow {
            Some(b'{' | b'[') => "did not find expected node content",
            _ => text,
        };
        format!("error converting YAML to JSON: yaml: line {line}: {text}")
    };
    match read(Error) {
        Ok(Any(value)) => Ok(Parsed {
            value,
            complaints: Vec::new(),
        }),
        Err(error) => match error.without_snippet() {
            serde_saphyr::Error::DuplicateMappingKey { key, .. } => {
                let line = error.location().map_or(0, |location| location.line());
                let key = key.clone().unwrap_or_default();
                let Any(value) = read(LastWins).map_err(|error| failed(&error))?;
                Ok(Parsed {
                    value,
                    complaints: vec![format!("line {line}: key {key:?} already set in map")],
                })
            }
            _ => Err(failed(&error)),
        },
    }
}
