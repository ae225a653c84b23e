//! PEM blocks (RFC 7468), as Go's `encoding/pem` finds them: what is around a block is passed over.

use crate::object::base64;

/// A block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) label: String,
    /// Whether there are headers (`Proc-Type: …`) before the content.
    pub(crate) has_headers: bool,
    pub(crate) content: Vec<u8>,
}

/// The first block in `text` and what follows it.
pub(crate) fn first(text: &str) -> Option<(Block, &str)> {
    let mut rest = text;
    loop {
        let at = rest.find("-----BEGIN ")?;
        let starts_line = at == 0 || rest.as_bytes().get(at - 1) == Some(&b'\n');
        let after = rest.get(at + "-----BEGIN ".len()..)?;
        rest = after;
        if let Some(found) = starts_line.then(|| block(after)).flatten() {
            return Some(found);
        }
    }
}

/// All blocks in `text`.
pub(crate) fn all(text: &str) -> Vec<Block> {
    let (mut rest, mut blocks) = (text, Vec::new());
    while let Some((block, after)) = first(rest) {
        blocks.push(block);
        rest = after;
    }
    blocks
}

/// A block as a text.
pub(crate) fn write(label: &str, content: &[u8]) -> String {
    const WIDTH: usize = 64;
    let digits = base64::encode(content);
    let mut text = format!("-----BEGIN {label}-----\n");
    let mut rest = digits.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(WIDTH));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    text + &format!("-----END {label}-----\n")
}

/// The block whose label `text` starts with.
fn block(text: &str) -> Option<(Block, &str)> {
    let (line, body) = text.split_once('\n')?;
    let label = line.trim_end().strip_suffix("-----")?;
    let end = format!("-----END {label}-----");
    let (mut body, after) = body.split_once(&end)?;
    let mut has_headers = false;
    while let Some((line, next)) = body.split_once('\n') {
        if !line.contains(':') {
            break;
        }
        has_headers = true;
        body = next;
    }
    let digits: String = body.chars().filter(|c| !c.is_whitespace()).collect();
    let block = Block {
        label: label.to_owned(),
        has_headers,
        content: base64::decode(&digits)?,
    };
    let after = after.strip_prefix('\r').unwrap_or(after);
    Some((block, after.strip_prefix('\n').unwrap_or(after)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_found() {
        let two = "junk\n-----BEGIN A-----\nYWJj\n-----END A-----\n-----BEGIN B C-----\nX: y\n\nYQ==\n-----END B C-----";
        let (one, rest) = first(two).unwrap();
        assert_eq!(
            (&*one.label, one.has_headers, &*one.content),
            ("A", false, &b"abc"[..])
        );
        let (other, rest) = first(rest).unwrap();
        assert_eq!(
            (&*other.label, other.has_headers, &*other.content),
            ("B C", true, &b"a"[..])
        );
        assert_eq!(first(rest), None);
        for text in [
            "",
            "-----BEGIN A-----",
            "-----BEGIN A-----\n!\n-----END A-----",
            "x-----BEGIN A-----\n\n-----END A-----",
        ] {
            assert_eq!(first(text), None, "{text}");
        }
    }
}
