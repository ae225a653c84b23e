//! Regular expressions that are none: what Go says of them.
use regex::Regex;

/// Why `text` is no regular expression; `None`: it is one.
pub(super) fn problem(text: &str) -> Option<String> {
    let error = Regex::new(text).err()?;
    let message = error.to_string();
    let at = |from: usize| text.get(from..).unwrap_or(text);
    let go = if message.contains("unclosed character class") {
        let from = text.find('[').unwrap_or(0);
        format!("missing closing ]: `{}`", at(from))
    } else if message.contains("unclosed group") {
        format!("missing closing ): `{text}`")
    } else if message.contains("unopened group") {
        format!("unexpected ): `{text}`")
    } else if message.contains("repetition operator missing expression") {
        let operator = text.find(['*', '+', '?', '{']).unwrap_or(0);
        let sign: String = at(operator).chars().take(1).collect();
        format!("missing argument to repetition operator: `{sign}`")
    } else if message.contains("look-around") || message.contains("unrecognized flag") {
        let from = text.find("(?").unwrap_or(0);
        let sign: String = at(from)
            .chars()
            .take(if at(from).starts_with("(?<") { 4 } else { 3 })
            .collect();
        format!("invalid or unsupported Perl syntax: `{sign}`")
    } else if message.contains("unrecognized escape") || message.contains("backreferences") {
        let from = text.find('\\').unwrap_or(0);
        let sign: String = at(from).chars().take(2).collect();
        format!("invalid escape sequence: `{sign}`")
    } else if message.contains("incomplete escape") {
        "trailing backslash at end of expression: ``".to_owned()
    } else if message.contains("invalid character class range") {
        let from = text.find('[').map_or(0, |from| from + 1);
        let sign: String = at(from).chars().take(3).collect();
        format!("invalid character class range: `{sign}`")
    } else if message.contains("invalid repetition count range") || message.contains("exceeds size")
    {
        let from = text.find('{').unwrap_or(0);
        let to = at(from).find('}').map_or(text.len(), |to| from + to + 1);
        format!(
            "invalid repeat count: `{}`",
            text.get(from..to).unwrap_or(text)
        )
    } else {
        format!(
            "{}: `{text}`",
            message
                .lines()
                .last()
                .unwrap_or_default()
                .trim_start_matches("error: ")
        )
    };
    Some(format!("error parsing regexp: {go}"))
}

#[cfg(test)]
mod tests {
    use super::problem;

    #[test]
    fn go_says() {
        for (text, expected) in [
            ("^a+$", None),
            (
                "[a-",
                Some("error parsing regexp: missing closing ]: `[a-`"),
            ),
            ("(a", Some("error parsing regexp: missing closing ): `(a`")),
            ("a)", Some("error parsing regexp: unexpected ): `a)`")),
            (
                "*a",
                Some("error parsing regexp: missing argument to repetition operator: `*`"),
            ),
            (
                "(?=a)",
                Some("error parsing regexp: invalid or unsupported Perl syntax: `(?=`"),
            ),
        ] {
            assert_eq!(problem(text).as_deref(), expected, "{text}");
        }
    }
}
