//! YAML bodies, read into the same documents as JSON, as Go reads them (`sigs.k8s.io/yaml`): `yes` and `on` are booleans, keys
//! become texts, merge keys merge, and only the first document counts.
mod scalar;
#[cfg(test)]
mod tests;
mod words;

use serde_json::{Map, Value};
use serde_saphyr::granit_parser::{self, Event, Parser, ScalarStyle, Span, StrInput, Tag};
use std::collections::{BTreeMap, BTreeSet};

/// Documents are nested no deeper than this, as JSON.
const DEEPEST: usize = 127;

/// A parsed YAML document.
pub(crate) struct Parsed {
    pub(crate) value: Value,
    /// What a strict parser complains of: keys that come twice.
    pub(crate) complaints: Vec<String>,
}

/// Parses one document. Of keys that come twice the last one counts.
///
/// # Errors
/// The message of what is wrong.
pub(crate) fn parse(bytes: &[u8]) -> Result<Parsed, String> {
    let failed = |why: String| format!("error converting YAML to JSON: {why}");
    let text = std::str::from_utf8(bytes)
        .map_err(|_| failed("yaml: invalid leading UTF-8 octet".to_owned()))?;
    if text.chars().any(is_control) {
        return Err(failed(
            "yaml: control characters are not allowed".to_owned(),
        ));
    }
    let options = granit_parser::options! {
        emit_unresolved_aliases: true,
        emit_anchor_events: true,
        emit_comments: false,
        block_scalar_eof_without_line_feed: true,
    };
    let mut composer = Composer {
        text,
        events: Parser::new_from_str_with_options(text, options),
        anchors: BTreeMap::new(),
        names: BTreeMap::new(),
        nodes: 0,
        aliased: 0,
        complaints: Vec::new(),
    };
    let value = composer.document().map_err(failed)?;
    Ok(Parsed {
        value,
        complaints: composer.complaints,
    })
}

/// Whether a character cannot be in a document at all.
fn is_control(character: char) -> bool {
    !matches!(character,
        '\t' | '\n' | '\r' | ' '..='~' | '\u{85}' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

/// Puts a document together from the events of its parser.
struct Composer<'a> {
    text: &'a str,
    events: Parser<'a, StrInput<'a>>,
    /// What aliases stand for, with its number of nodes.
    anchors: BTreeMap<usize, (Value, usize)>,
    names: BTreeMap<usize, String>,
    /// Nodes so far, and how many of them came from aliases.
    nodes: usize,
    aliased: usize,
    complaints: Vec<String>,
}

/// A key, as Go has it before it becomes a text.
struct Key {
    text: String,
    /// As Go's `%#v` shows it; two keys are the same when these are.
    shown: String,
    merges: bool,
}

fn yaml(why: impl std::fmt::Display) -> String {
    format!("yaml: {why}")
}

impl<'a> Composer<'a> {
    fn document(&mut self) -> Result<Value, String> {
        loop {
            match self.next()? {
                None | Some((Event::StreamEnd, _)) => return Ok(Value::Null),
                Some((Event::StreamStart | Event::DocumentStart(..), _)) => {}
                Some((event, span)) => {
                    let value = self.node(event, span, 0)?;
                    // What follows must be the end.
                    self.inner()?;
                    return Ok(value);
                }
            }
        }
    }

    fn next(&mut self) -> Result<Option<(Event<'a>, Span)>, String> {
        match self.events.next() {
            None => Ok(None),
            Some(Ok(event)) => Ok(Some(event)),
            Some(Err(error)) => Err(words::of(&error, self.text)),
        }
    }

    /// The next event within a node.
    fn inner(&mut self) -> Result<(Event<'a>, Span), String> {
        loop {
            match self.next()? {
                None => return Err(yaml("found unexpected end of stream")),
                Some((Event::Anchor(id, name), _)) => {
                    self.names.insert(id, name.into_owned());
                }
                Some(event) => return Ok(event),
            }
        }
    }

    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Value, String> {
        if depth > DEEPEST {
            return Err(yaml("exceeded max depth of 10000"));
        }
        let before = self.nodes;
        self.nodes += 1;
        let (anchor, value) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain;
                (
                    anchor,
                    scalar::resolve(&text, plain, tag_of(tag.as_deref()))?,
                )
            }
            Event::SequenceStart(_, anchor, _) => (anchor, self.sequence(depth)?),
            Event::MappingStart(_, anchor, _) => (anchor, Value::Object(self.mapping(depth)?)),
            Event::Alias(id) => return self.alias(id),
            Event::UnresolvedAlias(name) => {
                return Err(yaml(format_args!("unknown anchor '{name}' referenced")));
            }
            _ => {
                let line = span.start.line();
                return Err(yaml(format_args!(
                    "line {line}: did not find expected node content"
                )));
            }
        };
        if anchor != 0 {
            let nodes = self.nodes - before;
            self.anchors.insert(anchor, (value.clone(), nodes));
        }
        Ok(value)
    }

    fn alias(&mut self, id: usize) -> Result<Value, String> {
        let Some((value, nodes)) = self.anchors.get(&id) else {
            let name = self.names.get(&id).map_or("", |name| name);
            return Err(yaml(format_args!("anchor '{name}' value contains itself")));
        };
        self.nodes = self.nodes.saturating_add(*nodes);
        self.aliased = self.aliased.saturating_add(*nodes);
        if self.aliased > 100
            && self.nodes > 1000
            && self.aliased.saturating_mul(1000)
                > self.nodes.saturating_mul(aliased_share(self.nodes))
        {
            return Err(yaml("document contains excessive aliasing"));
        }
        Ok(value.clone())
    }

    fn sequence(&mut self, depth: usize) -> Result<Value, String> {
        let mut items = Vec::new();
        loop {
            match self.inner()? {
                (Event::SequenceEnd, _) => return Ok(Value::Array(items)),
                (event, span) => items.push(self.node(event, span, depth + 1)?),
            }
        }
    }

    fn mapping(&mut self, depth: usize) -> Result<Map<String, Value>, String> {
        let (mut map, mut seen) = (Map::new(), BTreeSet::new());
        loop {
            let (event, span) = self.inner()?;
            if matches!(event, Event::MappingEnd) {
                return Ok(map);
            }
            let key = self.key(event, span, depth)?;
            let (event, span) = self.inner()?;
            let line = span.start.line();
            let value = self.node(event, span, depth + 1)?;
            let entries = if key.merges {
                merged(value)?
            } else {
                vec![(key.text, key.shown, value)]
            };
            for (text, shown, value) in entries {
                if !seen.insert(shown.clone()) {
                    self.complaints
                        .push(format!("line {line}: key {shown} already set in map"));
                }
                map.insert(text, value);
            }
        }
    }

    fn key(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Key, String> {
        let merges = match &event {
            Event::Scalar(text, ScalarStyle::Plain, _, None) => text == "<<",
            _ => false,
        };
        let value = self.node(event, span, depth + 1)?;
        let (text, shown) = match value {
            Value::String(text) => (text.clone(), format!("{text:?}")),
            Value::Bool(_) | Value::Number(_) => (value.to_string(), value.to_string()),
            Value::Null => {
                return Err("unsupported map key of type: %!s(<nil>), key: <nil>".to_owned());
            }
            Value::Array(_) | Value::Object(_) => return Err(yaml("invalid map key")),
        };
        Ok(Key {
            text,
            shown,
            merges,
        })
    }
}

/// The entries of a map that is merged into another, or of several, the first of which counts most.
fn merged(value: Value) -> Result<Vec<(String, String, Value)>, String> {
    let maps = match value {
        Value::Array(maps) => maps.into_iter().rev().collect(),
        map => vec![map],
    };
    let mut entries = Vec::new();
    for map in maps {
        let Value::Object(map) = map else {
            return Err(yaml(
                "map merge requires map or sequence of maps as the value",
            ));
        };
        entries.extend(map.into_iter().map(|(text, value)| {
            let shown = format!("{text:?}");
            (text, shown, value)
        }));
    }
    Ok(entries)
}

/// How many of a thousand nodes may come from aliases in a document of so many.
fn aliased_share(nodes: usize) -> usize {
    const LOW: usize = 400_000;
    const HIGH: usize = 4_000_000;
    match nodes {
        ..=LOW => 990,
        HIGH.. => 100,
        between => 990 - 890 * (between - LOW) / (HIGH - LOW),
    }
}

fn tag_of(tag: Option<&Tag>) -> Option<String> {
    tag.map(|tag| format!("{}{}", tag.handle(), tag.suffix()))
}
