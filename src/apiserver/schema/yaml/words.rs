//! What is wrong with a text that is no YAML, in the words and with the line of Go's parser.
use serde_saphyr::granit_parser::{ErrorKind, ScanError};

/// Who of Go's parser notices it: the scanner counts lines from one, the parser from zero, and both leave the first one out.
#[derive(Clone, Copy)]
enum By {
    Scanner,
    Parser,
    /// The parser, at the end of the text.
    End,
}

/// The message for an error in `text`.
pub(super) fn of(error: &ScanError, text: &str) -> String {
    let line = error.marker().line();
    let (by, why) = words(error, text);
    let at = match by {
        By::Scanner if matches!(error.kind(), ErrorKind::UnclosedQuotedScalar) && line < 2 => {
            after(text.matches('\n').count(), 1)
        }
        By::Scanner => after(line.saturating_sub(1), 1),
        By::Parser => after(line.saturating_sub(1), 0),
        By::End => after(lines(text), 0),
    };
    format!("yaml: {at}{why}")
}

/// `line N: `, where a line before it counts for something.
fn after(before: usize, add: usize) -> String {
    match before {
        0 => String::new(),
        before => format!("line {}: ", before + add),
    }
}

fn lines(text: &str) -> usize {
    text.matches('\n').count() + usize::from(!text.ends_with('\n'))
}

fn words(error: &ScanError, text: &str) -> (By, String) {
    use ErrorKind as Kind;
    let content = "did not find expected node content";
    let (by, why) = match error.kind() {
        Kind::MappingValueNotAllowed | Kind::InvalidColonPlacement => (
            By::Scanner,
            "mapping values are not allowed in this context",
        ),
        Kind::MappingKeyNotAllowed => (By::Scanner, "mapping keys are not allowed in this context"),
        Kind::BlockSequenceEntryNotAllowed => (
            By::Scanner,
            "block sequence entries are not allowed in this context",
        ),
        Kind::TabNotAllowed
        | Kind::TabInBlockIndentation
        | Kind::TabInIndentation
        | Kind::UnexpectedCharacter { .. } => {
            (By::Scanner, "found character that cannot start any token")
        }
        Kind::UnclosedQuotedScalar => (By::Scanner, "found unexpected end of stream"),
        Kind::UnknownQuotedScalarEscape => (By::Scanner, "found unknown escape character"),
        Kind::SimpleKeyExpected | Kind::InvalidSimpleKey => {
            (By::Scanner, "could not find expected ':'")
        }
        Kind::MissingAnchorOrAliasName => (
            By::Scanner,
            "did not find expected alphabetic or numeric character",
        ),
        Kind::ExpectedBlockSequenceEntry => (By::Parser, "did not find expected '-' indicator"),
        Kind::ExpectedBlockMappingKey => (By::Parser, "did not find expected key"),
        Kind::ExpectedDocumentStart => (By::Parser, "did not find expected <document start>"),
        Kind::ExpectedFlowMappingSeparator
        | Kind::MismatchedFlowCollectionEnd { open: '{', .. } => {
            (By::Parser, "did not find expected ',' or '}'")
        }
        Kind::ExpectedFlowSequenceSeparator | Kind::MismatchedFlowCollectionEnd { .. } => {
            (By::Parser, "did not find expected ',' or ']'")
        }
        Kind::ExpectedNodeContent | Kind::MisplacedFlowCollectionEnd => (By::Parser, content),
        Kind::UnexpectedEofFlowMapping
        | Kind::UnexpectedEofImplicitFlowMapping
        | Kind::UnclosedFlowCollection { open: '{' } => {
            (By::End, unclosed(text, "did not find expected ',' or '}'"))
        }
        Kind::UnexpectedEofFlowSequence | Kind::UnclosedFlowCollection { .. } => {
            (By::End, unclosed(text, "did not find expected ',' or ']'"))
        }
        Kind::RecursionLimitExceeded => (By::Parser, "exceeded max depth of 10000"),
        other => {
            let why = other.to_string();
            let problem = why.rsplit_once(", ").map_or(&*why, |(_, problem)| problem);
            return (By::Scanner, problem.to_owned());
        }
    };
    (by, why.to_owned())
}

/// A list or map in flow style that breaks off: after an item a separator is missed, else the item.
fn unclosed(text: &str, separator: &'static str) -> &'static str {
    match text.trim_end().chars().next_back() {
        Some('[' | '{' | ',') => "did not find expected node content",
        _ => separator,
    }
}
