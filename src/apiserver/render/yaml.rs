//! YAML as Go's `sigs.k8s.io/yaml` writes it: sorted keys, lists as far left as their key, quotes where a text would read as
//! something else, lines folded after 80 columns.
use serde_json::{Map, Value};
use std::cmp::Ordering;
use std::fmt::Write;

/// Texts are folded at the first space beyond this column.
const WIDTH: usize = 80;

/// The document as YAML.
pub(super) fn to_string(document: &Value) -> String {
    let mut writer = Writer {
        out: String::new(),
        column: 0,
    };
    match document {
        Value::Object(map) if !map.is_empty() => writer.map(map, 0),
        Value::Array(items) if !items.is_empty() => writer.list(items, 0),
        scalar => writer.scalar(scalar, 0),
    }
    writer.out
}

struct Writer {
    out: String,
    column: usize,
}

impl Writer {
    fn put(&mut self, text: &str) {
        self.out.push_str(text);
        self.column += text.chars().count();
    }
    fn line(&mut self, indent: usize) {
        self.out.push('\n');
        self.column = 0;
        self.put(&" ".repeat(indent));
    }

    /// The keys of a map; the first goes where the writer is.
    fn map(&mut self, map: &Map<String, Value>, indent: usize) {
        let mut entries: Vec<(&String, &Value)> = map.iter().collect();
        entries.sort_by(|(one, _), (other, _)| natural(one, other));
        for (index, (key, value)) in entries.into_iter().enumerate() {
            if index > 0 {
                self.put(&" ".repeat(indent));
            }
            self.text(key, indent, true);
            self.put(":");
            match value {
                Value::Object(map) if !map.is_empty() => {
                    self.line(indent + 2);
                    self.map(map, indent + 2);
                }
                Value::Array(items) if !items.is_empty() => {
                    self.line(indent);
                    self.list(items, indent);
                }
                scalar => {
                    self.put(" ");
                    self.scalar(scalar, indent);
                }
            }
        }
    }

    fn list(&mut self, items: &[Value], indent: usize) {
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                self.put(&" ".repeat(indent));
            }
            self.put("- ");
            match item {
                Value::Object(map) if !map.is_empty() => self.map(map, indent + 2),
                Value::Array(items) if !items.is_empty() => self.list(items, indent + 2),
                scalar => self.scalar(scalar, indent),
            }
        }
    }

    /// A scalar or something empty, and the end of the line.
    fn scalar(&mut self, value: &Value, indent: usize) {
        match value {
            Value::Null => self.put("null"),
            Value::Bool(flag) => self.put(if *flag { "true" } else { "false" }),
            Value::Number(number) => self.put(&number.to_string()),
            Value::Object(_) => self.put("{}"),
            Value::Array(_) => self.put("[]"),
            Value::String(text) => self.text(text, indent, false),
        }
        self.out.push('\n');
        self.column = 0;
    }

    fn text(&mut self, text: &str, indent: usize, key: bool) {
        let style = Style::of(text, key);
        match style {
            Style::Plain => self.folded(text, indent, key, |character, out| out.push(character)),
            Style::Single => {
                self.put("'");
                self.folded(text, indent, key, |character, out| {
                    if character == '\'' {
                        out.push('\'');
                    }
                    out.push(character);
                });
                self.put("'");
            }
            Style::Double => self.double(text, indent, key),
            Style::Literal => self.literal(text, indent),
        }
    }

    /// A text on one line, or on several that are one for the reader.
    fn folded(&mut self, text: &str, indent: usize, key: bool, write: impl Fn(char, &mut String)) {
        let characters: Vec<char> = text.chars().collect();
        let mut after_space = false;
        for (index, character) in characters.iter().enumerate() {
            let next = characters.get(index + 1);
            let is_space = *character == ' ';
            let inner = index > 0 && next.is_some_and(|next| *next != ' ');
            if is_space && !after_space && !key && inner && self.column > WIDTH {
                self.line(indent + 2);
            } else {
                let mut out = String::new();
                write(*character, &mut out);
                self.put(&out);
            }
            after_space = is_space;
        }
    }

    fn double(&mut self, text: &str, indent: usize, key: bool) {
        self.put("\"");
        let characters: Vec<char> = text.chars().collect();
        let mut after_space = false;
        for (index, character) in characters.iter().enumerate() {
            let is_space = *character == ' ';
            let inner = index > 0 && index + 1 < characters.len();
            if is_space && !after_space && !key && inner && self.column > WIDTH {
                self.line(indent + 2);
                if characters.get(index + 1) == Some(&' ') {
                    self.put("\\");
                }
            } else {
                let escaped = escape(*character);
                self.put(&escaped);
            }
            after_space = is_space;
        }
        self.put("\"");
    }

    fn literal(&mut self, text: &str, indent: usize) {
        self.put("|");
        if text.starts_with([' ', '\n']) {
            self.put("2");
        }
        let body = text.trim_end_matches('\n');
        match text.len() - body.len() {
            0 => self.put("-"),
            1 if !body.is_empty() => {}
            _ => self.put("+"),
        }
        for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
            self.out.push('\n');
            if !line.is_empty() {
                self.out.push_str(&" ".repeat(indent + 2));
                self.out.push_str(line);
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    Plain,
    Single,
    Double,
    Literal,
}

impl Style {
    fn of(text: &str, key: bool) -> Self {
        let breaks = text.contains('\n');
        let special = !text.chars().all(is_printable) || text.contains(" \n");
        if breaks {
            let block = !special && !key && !text.ends_with(' ');
            return if block { Self::Literal } else { Self::Double };
        }
        if special || reads_as_other(text) {
            return Self::Double;
        }
        if text.starts_with(' ') || text.ends_with(' ') || has_indicators(text) {
            return Self::Single;
        }
        Self::Plain
    }
}

fn is_printable(character: char) -> bool {
    matches!(character, '\n' | ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}')
        && character != '\u{feff}'
}

/// Whether YAML would take the characters for structure.
fn has_indicators(text: &str) -> bool {
    let bytes = text.as_bytes();
    let blank_at = |index: usize| matches!(bytes.get(index), None | Some(b' ' | b'\t'));
    let first = match bytes.first() {
        Some(
            b'#' | b',' | b'[' | b']' | b'{' | b'}' | b'&' | b'*' | b'!' | b'|' | b'>' | b'\''
            | b'"' | b'%' | b'@' | b'`',
        ) => true,
        Some(b'?' | b':' | b'-') => blank_at(1),
        _ => false,
    };
    let inner = bytes
        .iter()
        .enumerate()
        .skip(1)
        .any(|(index, byte)| match byte {
            b':' => blank_at(index + 1),
            b'#' => index.checked_sub(1).is_some_and(blank_at),
            _ => false,
        });
    first || inner || text.starts_with("---") || text.starts_with("...")
}

/// Whether the bare text would be a boolean, a number, a time or nothing.
fn reads_as_other(text: &str) -> bool {
    let words = [
        "y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON", "n", "N", "no",
        "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF", "", "~", "null", "Null",
        "NULL", "<<", ".nan", ".NaN", ".NAN", ".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF",
        "-.inf", "-.Inf", "-.INF",
    ];
    words.contains(&text) || is_number(text) || is_time(text) || is_base_60(text)
}

fn is_number(text: &str) -> bool {
    if !text.starts_with(|first: char| first.is_ascii_digit() || matches!(first, '+' | '-' | '.')) {
        return false;
    }
    let plain = text.replace('_', "");
    let unsigned = plain.strip_prefix(['+', '-']).unwrap_or(&plain);
    let digits = |text: &str, radix: u32| {
        !text.is_empty() && text.chars().all(|digit| digit.is_digit(radix))
    };
    let prefixed = |prefixes: [&str; 2], radix| {
        let rest = prefixes
            .iter()
            .find_map(|prefix| unsigned.strip_prefix(prefix));
        rest.is_some_and(|rest| {
            digits(rest, radix)
                && i128::from_str_radix(rest, radix).is_ok_and(|int| int <= i128::from(u64::MAX))
        })
    };
    prefixed(["0x", "0X"], 16)
        || prefixed(["0b", "0B"], 2)
        || prefixed(["0o", "0O"], 8)
        || is_float(unsigned)
}

/// `[0-9]+(\.[0-9]*)?` or `\.[0-9]+`, with an exponent.
fn is_float(text: &str) -> bool {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mantissa_ok = digits(whole) && digits(part) && !(whole.is_empty() && part.is_empty());
    let exponent_ok = exponent.is_none_or(|exponent| {
        let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        !exponent.is_empty() && digits(exponent)
    });
    mantissa_ok && exponent_ok
}

/// `2006-1-2`, also with a time after `T` or a space.
fn is_time(text: &str) -> bool {
    let (date, time) = match text.find(['T', 't', ' ']) {
        Some(at) => text.split_at(at),
        None => (text, ""),
    };
    let number = |text: &str, longest: usize| {
        (1..=longest).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    let mut parts = date.split('-');
    let date_ok = parts
        .next()
        .is_some_and(|year| year.len() == 4 && number(year, 4))
        && parts.next().is_some_and(|month| number(month, 2))
        && parts.next().is_some_and(|day| number(day, 2))
        && parts.next().is_none();
    let clock = time.get(1..).unwrap_or_default();
    let clock = clock.strip_suffix('Z').unwrap_or(clock);
    let clock = clock
        .split(['+', '-'])
        .next()
        .unwrap_or_default()
        .trim_end();
    let mut parts = clock.split(':');
    let time_ok = time.is_empty()
        || parts.next().is_some_and(|hour| number(hour, 2))
            && parts.next().is_some_and(|minute| number(minute, 2))
            && parts.next().is_some_and(|second| {
                let (whole, part) = second.split_once('.').unwrap_or((second, "0"));
                number(whole, 2) && part.bytes().all(|byte| byte.is_ascii_digit())
            })
            && parts.next().is_none();
    date_ok && time_ok
}

/// `1:20`, which old YAML reads as a number.
fn is_base_60(text: &str) -> bool {
    let text = text.strip_prefix(['+', '-']).unwrap_or(text);
    let Some((first, rest)) = text.split_once(':') else {
        return false;
    };
    let first_ok = first.starts_with(|digit: char| digit.is_ascii_digit())
        && first
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'_');
    let (rest, part) = rest.split_once('.').unwrap_or((rest, ""));
    let part_ok = part
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'_');
    let sexagesimal = |group: &str| match group.as_bytes() {
        [ones] => ones.is_ascii_digit(),
        [tens, ones] => (b'0'..=b'5').contains(tens) && ones.is_ascii_digit(),
        _ => false,
    };
    first_ok && part_ok && rest.split(':').all(sexagesimal)
}

fn escape(character: char) -> String {
    let short = match character {
        '\0' => "\\0",
        '\u{7}' => "\\a",
        '\u{8}' => "\\b",
        '\t' => "\\t",
        '\n' => "\\n",
        '\u{b}' => "\\v",
        '\u{c}' => "\\f",
        '\r' => "\\r",
        '\u{1b}' => "\\e",
        '"' => "\\\"",
        '\\' => "\\\\",
        '\u{85}' => "\\N",
        '\u{a0}' => "\\_",
        '\u{2028}' => "\\L",
        '\u{2029}' => "\\P",
        _ if is_printable(character) => return character.to_string(),
        _ => "",
    };
    if !short.is_empty() {
        return short.to_owned();
    }
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = match u32::from(character) {
        code @ ..=0xff => write!(out, "\\x{code:02X}"),
        code @ ..=0xffff => write!(out, "\\u{code:04X}"),
        code => write!(out, "\\U{code:08X}"),
    };
    out
}

/// The order of keys: numbers in them count as numbers, letters come after everything else.
fn natural(one: &str, other: &str) -> Ordering {
    let (a, b): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    for (index, (x, y)) in a.iter().zip(&b).enumerate() {
        if x == y {
            continue;
        }
        match (x.is_alphabetic(), y.is_alphabetic()) {
            (true, true) => return x.cmp(y),
            (true, false) => return Ordering::Greater,
            (false, true) => return Ordering::Less,
            (false, false) => {}
        }
        // Digits after other digits: more of them make a larger number, also when they are zeros.
        let inside = (*x == '0' || *y == '0')
            && a.iter()
                .take(index)
                .rev()
                .take_while(|digit| digit.is_numeric())
                .any(|digit| *digit != '0');
        let number = |text: &[char]| {
            let digits = text
                .iter()
                .skip(index)
                .map_while(|digit| digit.to_digit(10));
            digits.fold((u64::from(inside), 0), |(number, length), digit| {
                (
                    number.wrapping_mul(10).wrapping_add(u64::from(digit)),
                    length + 1,
                )
            })
        };
        return number(&a).cmp(&number(&b)).then(x.cmp(y));
    }
    a.len().cmp(&b.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn documents_look_as_go_writes_them() {
        let document = json!({
            "b": { "list": [{ "x": 1, "y": [] }, "two", [3, null]], "empty": {} },
            "a": "plain", "c10": true, "c9": 1.5, "C": "",
        });
        let expected = "C: \"\"\na: plain\nb:\n  empty: {}\n  list:\n  - x: 1\n    \"y\": []\n  - two\n  - - 3\n    - null\nc9: 1.5\nc10: true\n";
        assert_eq!(to_string(&document), expected);
    }

    #[test]
    fn texts_are_quoted_where_they_must_be() {
        for (text, expected) in [
            ("a", "a"),
            ("true", "\"true\""),
            ("1", "\"1\""),
            ("1e3", "\"1e3\""),
            ("0x1f", "\"0x1f\""),
            ("1.2.3", "1.2.3"),
            ("100m", "100m"),
            ("2026-01-02T03:04:05Z", "\"2026-01-02T03:04:05Z\""),
            ("2026-01-02", "\"2026-01-02\""),
            ("1:30", "\"1:30\""),
            ("10.0.0.0/16", "10.0.0.0/16"),
            ("a: b", "'a: b'"),
            ("it's: so", "'it''s: so'"),
            ("a:b", "a:b"),
            ("*/5 * * * *", "'*/5 * * * *'"),
            (" lead", "' lead'"),
            ("a #b", "'a #b'"),
            ("a\tb", "\"a\\tb\""),
            ("é", "é"),
            ("🦀", "\"\\U0001F980\""),
            ("a\nb", "|-\n    a\n    b"),
            ("a\nb\n", "|\n    a\n    b"),
            ("a\n\nb\n\n", "|+\n    a\n\n    b\n"),
            ("a \nb", "\"a \\nb\""),
        ] {
            let found = to_string(&json!({ "k": { "t": text } }));
            assert_eq!(found, format!("k:\n  t: {expected}\n"), "{text:?}");
        }
    }

    #[test]
    fn long_lines_are_folded() {
        let long = "word ".repeat(20);
        let found = to_string(&json!({ "message": long.trim_end() }));
        let expected = format!(
            "message: {}\n  {}\n",
            "word ".repeat(15).trim_end(),
            "word ".repeat(5).trim_end()
        );
        assert_eq!(found, expected);
    }
}
