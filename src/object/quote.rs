//! Texts in quotes as Go's `%q` writes them, for messages.
/// The text in quotes; what cannot be printed is escaped.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            printable if is_print(printable) => out.push(printable),
            hidden => out.push_str(&escape(hidden)),
        }
    }
    out.push('"');
    out
}

fn escape(character: char) -> String {
    let code = u32::from(character);
    match character {
        ..' ' | '\u{7f}' => format!("\\x{code:02x}"),
        ..='\u{ffff}' => format!("\\u{code:04x}"),
        _ => format!("\\U{code:08x}"),
    }
}

/// Go's `unicode.IsPrint`: of the spaces only the ASCII one.
pub(crate) fn is_print(character: char) -> bool {
    if character.is_ascii() {
        return matches!(character, ' '..='~');
    }
    // Behind a letter, where marks stand that belong to it.
    let shown = ['a', character].iter().collect::<String>();
    !character.is_whitespace() && shown.escape_debug().count() == 2
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn as_go() {
        for (text, expected) in [
            ("a b'c", r#""a b'c""#),
            ("a\"b\\c", r#""a\"b\\c""#),
            ("\u{7}\u{8}\u{b}\u{c}\n\r\t", r#""\a\b\v\f\n\r\t""#),
            ("\0\u{1b}\u{7f}", r#""\x00\x1b\x7f""#),
            ("äé世🙂", "\"äé世🙂\""),
            ("e\u{301}", "\"e\u{301}\""),
            (
                "\u{a0}\u{2028}\u{feff}\u{200b}",
                r#""\u00a0\u2028\ufeff\u200b""#,
            ),
            ("\u{e0001}", r#""\U000e0001""#),
        ] {
            assert_eq!(quoted(text), expected);
        }
    }
}
