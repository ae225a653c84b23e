//! Protobuf messages as JSON documents.
use super::shape::{Place, Shape};
use super::wire::{Content, Reader};
use crate::object::base64;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// Messages in messages deeper than this are refused.
const DEEPEST: u8 = 100;

/// Reads the message of this shape into an object. Unknown numbers are skipped, as protobuf wants it.
///
/// # Errors
/// When the bytes are no such message.
pub(super) fn message(
    bytes: &[u8],
    shape: &Shape,
    map: &mut Map<String, Value>,
    depth: u8,
) -> Result<(), &'static str> {
    if depth > DEEPEST {
        return Err("too deep");
    }
    let mut reader = Reader(bytes);
    while let Some((number, content)) = reader.field()? {
        match shape.place(number) {
            None => {}
            Some(Place::Inline(inline)) => message(bytes_of(content)?, inline, map, depth + 1)?,
            Some(Place::Field(line)) => {
                let verbs = matches!(line.marks.go, Some("v1.Verbs"));
                field(map, line.name, content, line.ty, verbs, depth)?;
            }
        }
    }
    Ok(())
}

fn field(
    map: &mut Map<String, Value>,
    name: &str,
    content: Content<'_>,
    ty: &str,
    list_is_message: bool,
    depth: u8,
) -> Result<(), &'static str> {
    let whole = match ty.split_at_checked(1) {
        Some(("[", item)) if list_is_message => Some(list(bytes_of(content)?, item, depth)?),
        Some(("[", item)) => {
            let list = map.entry(name).or_insert_with(|| json!([]));
            if let Value::Array(items) = list {
                add(items, content, item, depth)?;
            }
            None
        }
        Some(("{", item)) => {
            let (key, value) = entry(bytes_of(content)?, item, depth)?;
            let values = map.entry(name).or_insert_with(|| json!({}));
            values[key] = value;
            None
        }
        _ => Some(single(content, ty, depth)?),
    };
    if let Some(value) = whole {
        map.insert(name.to_owned(), value);
    }
    Ok(())
}

/// Adds an item to a list; numbers may come packed.
fn add(
    items: &mut Vec<Value>,
    content: Content<'_>,
    item: &str,
    depth: u8,
) -> Result<(), &'static str> {
    match (item, content) {
        ("int32" | "int64" | "bool", Content::Bytes(packed)) => {
            let mut reader = Reader(packed);
            while !reader.0.is_empty() {
                let content = Content::Varint(reader.varint()?);
                items.push(single(content, item, depth)?);
            }
        }
        _ => items.push(single(content, item, depth)?),
    }
    Ok(())
}

/// A message of items.
fn list(bytes: &[u8], item: &str, depth: u8) -> Result<Value, &'static str> {
    let mut items = Vec::new();
    let mut reader = Reader(bytes);
    while let Some((number, content)) = reader.field()? {
        if number == 1 {
            add(&mut items, content, item, depth)?;
        }
    }
    Ok(items.into())
}

fn entry(bytes: &[u8], item: &str, depth: u8) -> Result<(String, Value), &'static str> {
    let mut key = String::new();
    let mut value = None;
    let mut reader = Reader(bytes);
    while let Some((number, content)) = reader.field()? {
        match number {
            1 => key = text(content)?,
            2 => {
                value = Some(match item.strip_prefix('[') {
                    Some(item) => list(bytes_of(content)?, item, depth)?,
                    None => single(content, item, depth)?,
                });
            }
            _ => {}
        }
    }
    // What is not sent is the zero value.
    let value = match value {
        Some(value) => value,
        None if item == "string" || item == "bytes" => "".into(),
        None if item.starts_with('[') => json!([]),
        None => single(Content::Bytes(&[]), item, depth)?,
    };
    Ok((key, value))
}

fn single(content: Content<'_>, ty: &str, depth: u8) -> Result<Value, &'static str> {
    Ok(match ty {
        "string" => text(content)?.into(),
        "bytes" => base64::encode(bytes_of(content)?).into(),
        "bool" => (integer(content)? != 0).into(),
        // Negative numbers come as 64 bits, whatever their type.
        "int32" | "int64" => integer(content)?.cast_signed().into(),
        "double" => match content {
            Content::Fixed64(bits) => f64::from_bits(bits).into(),
            _ => return Err(WIRE),
        },
        "quantity" => {
            let mut quantity = String::from("0");
            let mut reader = Reader(bytes_of(content)?);
            while let Some((number, content)) = reader.field()? {
                if number == 1 {
                    quantity = text(content)?;
                }
            }
            quantity.into()
        }
        "intstr" => int_or_string(bytes_of(content)?)?,
        "time" | "microtime" => time(bytes_of(content)?, ty == "microtime")?,
        "any" => {
            let mut any = Value::Null;
            let mut reader = Reader(bytes_of(content)?);
            while let Some((number, content)) = reader.field()? {
                if number == 1 {
                    any = serde_json::from_slice(bytes_of(content)?)
                        .map_err(|_| "raw data is no JSON")?;
                }
            }
            any
        }
        ty => match ty.split_at_checked(1) {
            Some(("@", name)) => {
                let mut map = Map::new();
                if let Some(shape) = Shape::of(name) {
                    message(bytes_of(content)?, shape, &mut map, depth + 1)?;
                }
                map.into()
            }
            Some(("?", rest)) => schema_or(bytes_of(content)?, rest, depth)?,
            _ => Value::Null,
        },
    })
}

fn schema_or(bytes: &[u8], rest: &str, depth: u8) -> Result<Value, &'static str> {
    let (or, name) = rest.split_at_checked(1).ok_or(WIRE)?;
    let schema = |content| single(content, &format!("@{name}"), depth);
    let mut flag = Value::Bool(false);
    let mut one = None;
    let mut many = Vec::new();
    let mut reader = Reader(bytes);
    while let Some((number, content)) = reader.field()? {
        match (or, number) {
            ("b", 1) => flag = (integer(content)? != 0).into(),
            ("b", 2) | ("a" | "s", 1) => one = Some(schema(content)?),
            ("a", 2) => many.push(schema(content)?),
            ("s", 2) => many.push(text(content)?.into()),
            _ => {}
        }
    }
    Ok(one.unwrap_or_else(|| if or == "b" { flag } else { many.into() }))
}

fn int_or_string(bytes: &[u8]) -> Result<Value, &'static str> {
    let (mut is_text, mut int, mut string) = (false, 0, String::new());
    let mut reader = Reader(bytes);
    while let Some((number, content)) = reader.field()? {
        match number {
            1 => is_text = integer(content)? == 1,
            2 => int = integer(content)?.cast_signed(),
            3 => string = text(content)?,
            _ => {}
        }
    }
    Ok(if is_text { string.into() } else { int.into() })
}

/// Seconds and nanoseconds as text; nothing at all is no time.
fn time(bytes: &[u8], micro: bool) -> Result<Value, &'static str> {
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    let (mut seconds, mut nanos) = (0, 0);
    let mut reader = Reader(bytes);
    while let Some((number, content)) = reader.field()? {
        match number {
            1 => seconds = integer(content)?.cast_signed(),
            2 => nanos = integer(content)?.cast_signed(),
            _ => {}
        }
    }
    let nanos = i32::try_from(nanos).map_err(|_| "time out of range")?;
    let time = Timestamp::new(seconds, nanos).map_err(|_| "time out of range")?;
    Ok(if micro {
        format!("{time:.6}")
    } else {
        format!("{time:.0}")
    }
    .into())
}

const WIRE: &str = "wrong wireType";

fn bytes_of(content: Content<'_>) -> Result<&[u8], &'static str> {
    match content {
        Content::Bytes(bytes) => Ok(bytes),
        _ => Err(WIRE),
    }
}

fn integer(content: Content<'_>) -> Result<u64, &'static str> {
    match content {
        Content::Varint(value) => Ok(value),
        // The zero value of an entry that was not sent.
        Content::Bytes([]) => Ok(0),
        _ => Err(WIRE),
    }
}

fn text(content: Content<'_>) -> Result<String, &'static str> {
    Ok(String::from_utf8_lossy(bytes_of(content)?).into_owned())
}
