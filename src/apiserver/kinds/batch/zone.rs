//! Names of time zones. The list is the IANA database's (`zones.txt`), so that no machine's own decides.

const ZONES: &str = include_str!("zones.txt");

/// What the zones' database has to say to a name.
///
/// # Errors
/// `unknown time zone …`
pub(super) fn load(name: &str) -> Result<(), String> {
    let known = matches!(name, "" | "UTC" | "Local") || ZONES.lines().any(|zone| zone == name);
    known
        .then_some(())
        .ok_or_else(|| format!("unknown time zone {name}"))
}

/// Whether a name is one of an explicit time zone.
///
/// # Errors
/// What is wrong with it.
pub(super) fn validate(name: &str) -> Result<(), Vec<String>> {
    if name.is_empty() {
        return Err(vec!["timeZone must be nil or non-empty string".to_owned()]);
    }
    let unknown = || format!("unknown time zone {name}");
    if !name.split('/').all(is_part) {
        return Err(vec![unknown()]);
    }
    let mut problems = Vec::new();
    if name.eq_ignore_ascii_case("local") {
        problems.push(
            "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"
                .to_owned(),
        );
    }
    problems.extend(load(name).err());
    if problems.is_empty() {
        Ok(())
    } else {
        Err(problems)
    }
}

fn is_part(part: &str) -> bool {
    !matches!(part, "." | "..")
        && !part.starts_with('-')
        && (1..=14).contains(&part.len())
        && part
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b".-_+".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones() {
        for (name, expected) in [
            ("Europe/Berlin", vec![]),
            ("Etc/GMT+1", vec![]),
            ("UTC", vec![]),
            ("", vec!["timeZone must be nil or non-empty string"]),
            ("europe/berlin", vec!["unknown time zone europe/berlin"]),
            ("../x", vec!["unknown time zone ../x"]),
            ("a//b", vec!["unknown time zone a//b"]),
            (
                "local",
                vec![
                    "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones",
                    "unknown time zone local",
                ],
            ),
        ] {
            assert_eq!(validate(name).err().unwrap_or_default(), expected, "{name}");
        }
    }
}
