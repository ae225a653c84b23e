//! The text of an expression: where its words are, and errors that point at them, as cel-go prints them.
use kube::core::cel::cel::parser::ParseErrors;
use std::fmt::Write;

/// So deep may the tree of an expression get: what works on it calls itself.
const DEEPEST: usize = 250;

/// A word, a literal or a sign, with its place in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Token<'a> {
    text: &'a str,
    at: usize,
}

/// The tokens of an expression. Texts are one token each, quotes included; comments and space are left out.
fn tokens(source: &str) -> Vec<Token<'_>> {
    let bytes = source.as_bytes();
    let (mut found, mut at) = (Vec::new(), 0);
    while let Some(&byte) = bytes.get(at) {
        let end = match byte {
            b'"' | b'\'' => text_end(source, at),
            b'/' if bytes.get(at + 1) == Some(&b'/') => {
                at = source[at..].find('\n').map_or(source.len(), |end| at + end);
                continue;
            }
            _ if byte.is_ascii_whitespace() => {
                at += 1;
                continue;
            }
            _ if is_word(byte) => {
                let rest = bytes.get(at..).unwrap_or_default();
                at + rest.iter().take_while(|byte| is_word(**byte)).count()
            }
            _ => {
                let pair = source.get(at..at + 2).unwrap_or_default();
                if ["==", "!=", "<=", ">=", "&&", "||"].contains(&pair) {
                    at + 2
                } else {
                    at + source[at..].chars().next().map_or(1, char::len_utf8)
                }
            }
        };
        found.push(Token {
            text: &source[at..end],
            at,
        });
        at = end;
    }
    found
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Where the quoted text that begins at `at` ends.
fn text_end(source: &str, at: usize) -> usize {
    let rest = &source[at..];
    let quote = &rest[..1];
    let triple = quote.repeat(3);
    let closing = if rest.starts_with(&triple) {
        triple.as_str()
    } else {
        quote
    };
    let mut inside = at + closing.len();
    while let Some(next) = source.get(inside..).and_then(|rest| rest.chars().next()) {
        if next == '\\' {
            inside += 1;
            inside += source[inside..].chars().next().map_or(0, char::len_utf8);
        } else if source[inside..].starts_with(closing) {
            return inside + closing.len();
        } else {
            inside += next.len_utf8();
        }
    }
    source.len()
}

/// Refuses what nests or chains too deeply, before anything recursive looks at it.
///
/// # Errors
/// In the words of cel-go.
pub(super) fn nesting(source: &str) -> Result<(), String> {
    let mut levels = vec![0_usize];
    let mut deepest = 0;
    for token in tokens(source) {
        match token.text {
            "(" | "[" | "{" => levels.push(1),
            ")" | "]" | "}" if levels.len() > 1 => {
                levels.pop();
            }
            "," => {
                if let Some(level) = levels.last_mut() {
                    *level = 1;
                }
            }
            "." | "+" | "-" | "*" | "/" | "%" | "?" | "!" | "&&" | "||" | "==" | "!=" | "<"
            | ">" | "<=" | ">=" | "in" => {
                if let Some(level) = levels.last_mut() {
                    *level += 1;
                }
            }
            _ => {}
        }
        deepest = deepest.max(levels.iter().sum());
    }
    if deepest > DEEPEST {
        return Err(format!(
            "ERROR: <input>:-1:0: expression recursion limit exceeded: {DEEPEST}"
        ));
    }
    Ok(())
}

/// Which token an error points at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place<'a> {
    /// A name on its own.
    Name(&'a str),
    /// The dot before a field.
    Field(&'a str),
    /// The bracket after the name of a function.
    Call(&'a str),
    /// The brace after the name of a type.
    Struct(&'a str),
    /// An operator.
    Operator(&'a str),
}

impl Place<'_> {
    /// The byte that the `nth` such token begins at.
    fn find(&self, source: &str, nth: usize) -> Option<usize> {
        let tokens = tokens(source);
        let text = |index: Option<usize>| {
            index
                .and_then(|index| tokens.get(index))
                .map_or("", |token| token.text)
        };
        let places = tokens.iter().enumerate().filter_map(|(index, token)| {
            let before = text(index.checked_sub(1));
            let after = text(Some(index + 1));

            match self {
                Self::Name(name) => (token.text == *name && before != ".").then_some(token.at),
                Self::Field(name) => (token.text == "."
                    && (after == *name || (after == "?" && text(Some(index + 2)) == *name)))
                    .then_some(token.at),
                Self::Call(name) => (token.text == "(" && before == *name).then_some(token.at),
                Self::Struct(name) => (token.text == "{"
                    && before == name.rsplit('.').next().unwrap_or_default())
                .then_some(token.at),
                Self::Operator(operator) => (token.text == *operator).then_some(token.at),
            }
        });
        let places: Vec<usize> = places.collect();
        places.get(nth).or_else(|| places.last()).copied()
    }
}

/// What is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem<'a> {
    pub place: Place<'a>,
    pub message: String,
}

/// All that is wrong, one after the other.
pub(super) fn problems(source: &str, problems: &[Problem<'_>]) -> String {
    let mut shown: Vec<(usize, String)> = Vec::new();
    for (index, problem) in problems.iter().enumerate() {
        // The second complaint about a name is about its second appearance.
        let nth = problems
            .iter()
            .take(index)
            .filter(|other| other.place == problem.place)
            .count();
        let at = problem.place.find(source, nth).unwrap_or(0);
        shown.push((at, show(source, position(source, at), &problem.message)));
    }
    shown.sort_by_key(|(at, _)| *at);
    let texts: Vec<String> = shown.into_iter().map(|(_, text)| text).collect();
    texts.join("\n")
}

/// The line and the column of a byte, from 1 and from 0.
fn position(source: &str, at: usize) -> (usize, usize) {
    let before = source.get(..at).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (line, before[start..].chars().count())
}

/// One error, with the line that it is in.
fn show(source: &str, (line, column): (usize, usize), message: &str) -> String {
    let mut text = format!("ERROR: <input>:{line}:{}: {message}", column + 1);
    if let Some(content) = line
        .checked_sub(1)
        .and_then(|index| source.split('\n').nth(index))
    {
        let _ = write!(
            text,
            "\n | {}\n | {}^",
            content.replace('\t', " "),
            ".".repeat(column)
        );
    }
    text
}

/// The errors of the parser.
pub(super) fn parse_errors(source: &str, errors: &ParseErrors) -> String {
    let texts: Vec<String> = errors
        .errors
        .iter()
        .map(|error| {
            let line = usize::try_from(error.pos.0).unwrap_or(0);
            let column = usize::try_from(error.pos.1 - 1).unwrap_or(0);
            show(source, (line, column), &error.msg)
        })
        .collect();
    texts.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_comments_are_no_words() {
        let shown = |source| {
            tokens(source)
                .iter()
                .map(|token| token.text)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            shown("a.b == 'c.\\'d' // e\n && \"\"\"f\"g\"\"\""),
            ["a", ".", "b", "==", "'c.\\'d'", "&&", "\"\"\"f\"g\"\"\""]
        );
        assert_eq!(shown("'open"), ["'open"]);
        assert_eq!(shown("ä+ß"), ["ä", "+", "ß"]);
    }

    #[test]
    fn depth_is_bounded() {
        assert!(nesting(&format!("{}1{}", "(".repeat(100), ")".repeat(100))).is_ok());
        assert!(nesting(&"(".repeat(300)).is_err());
        assert!(nesting(&"1+".repeat(300)).is_err());
        assert!(nesting(&format!("[{}]", "1,".repeat(3000))).is_ok());
    }

    #[test]
    fn errors_point_at_what_they_are_about() {
        let source = "a == 1 &&\n  b.c(d)";
        let one = |place, message: &str| {
            problems(
                source,
                &[Problem {
                    place,
                    message: message.into(),
                }],
            )
        };
        assert_eq!(
            one(Place::Call("c"), "x"),
            "ERROR: <input>:2:6: x\n |   b.c(d)\n | .....^"
        );
        assert_eq!(
            one(Place::Name("d"), "x"),
            "ERROR: <input>:2:7: x\n |   b.c(d)\n | ......^"
        );
        assert_eq!(
            one(Place::Operator("=="), "x"),
            "ERROR: <input>:1:3: x\n | a == 1 &&\n | ..^"
        );
    }
}
