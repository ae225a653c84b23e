//! How tables write times, lists and labels.
use crate::object::{Document, LabelSelector};
use jiff::Timestamp;
use serde_json::Value;

/// `17s`, `5m10s`, `3h`, `2d4h`, `1y20d`: the two largest units, while that is short.
pub(crate) fn human_duration(seconds: i64) -> String {
    let two = |large: i64, unit: char, small: i64, small_unit: char| {
        if small == 0 {
            format!("{large}{unit}")
        } else {
            format!("{large}{unit}{small}{small_unit}")
        }
    };
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    match seconds {
        ..-1 => "<invalid>".to_owned(),
        -1 => "0s".to_owned(),
        0..120 => format!("{seconds}s"),
        _ if minutes < 10 => two(minutes, 'm', seconds % 60, 's'),
        _ if minutes < 180 => format!("{minutes}m"),
        _ if hours < 8 => two(hours, 'h', minutes % 60, 'm'),
        _ if hours < 48 => format!("{hours}h"),
        _ if hours < 24 * 8 => two(hours / 24, 'd', hours % 24, 'h'),
        _ if hours < 24 * 365 * 2 => format!("{}d", hours / 24),
        _ if hours < 24 * 365 * 8 => two(hours / 24 / 365, 'y', hours / 24 % 365, 'd'),
        _ => format!("{}y", hours / 24 / 365),
    }
}

/// How long ago the time at `path` was; `<unknown>` when there is none.
pub(crate) fn since(object: &Value, path: &[&str], now: Timestamp) -> String {
    time(object, path).map_or_else(
        || "<unknown>".to_owned(),
        |then| human_duration(now.as_second() - then.as_second()),
    )
}

/// The age of an object.
pub(crate) fn age(object: &Value, now: Timestamp) -> String {
    since(object, &["metadata", "creationTimestamp"], now)
}

/// The time at `path`.
pub(crate) fn time(object: &Value, path: &[&str]) -> Option<Timestamp> {
    object.str_at(path).parse().ok()
}

/// The strings of the list at `path`.
pub(crate) fn strings<'a>(object: &'a Value, path: &[&str]) -> Vec<&'a str> {
    object
        .list_at(path)
        .iter()
        .filter_map(Value::as_str)
        .collect()
}

/// `text`, or `other` when it is empty.
pub(crate) fn or<'a>(text: &'a str, other: &'a str) -> &'a str {
    if text.is_empty() { other } else { text }
}

/// The integer at `path` as it is, 0 when absent.
pub(crate) fn number(object: &Value, path: &[&str]) -> i64 {
    object.i64_at(path).unwrap_or(0)
}

/// `a=b,c=d` of the map at `path`; `<none>` when empty.
pub(crate) fn labels(object: &Value, path: &[&str]) -> String {
    let map = object.at(path).and_then(Value::as_object);
    let pairs: Vec<String> = map
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    or(&pairs.join(","), "<none>").to_owned()
}

/// The label selector at `path` as text; `<none>` when it selects by nothing.
pub(crate) fn selector(object: &Value, path: &[&str]) -> String {
    let Some(selector) = object.at(path) else {
        return "<none>".to_owned();
    };
    match LabelSelector::from_value(selector) {
        Ok(selector) => or(&selector.to_string(), "<none>").to_owned(),
        Err(_) => "<error>".to_owned(),
    }
}

/// The names and the images of the containers at `path`.
pub(crate) fn containers(object: &Value, path: &[&str]) -> (String, String) {
    let of = |field: &str| {
        let values = object
            .list_at(path)
            .iter()
            .map(|container| container.str_at(&[field]));
        values.collect::<Vec<_>>().join(",")
    };
    (of("name"), of("image"))
}

/// The first `most` of `list`, and how many more there are.
pub(crate) fn shortened(list: &[String], most: usize, separator: &str, none: &str) -> String {
    let shown = list
        .iter()
        .take(most)
        .cloned()
        .collect::<Vec<_>>()
        .join(separator);
    if list.len() > most {
        format!("{shown} + {} more...", list.len() - most)
    } else {
        or(&shown, none).to_owned()
    }
}

/// Whether a condition of this type at `path` is `True`.
pub(crate) fn is_true(object: &Value, path: &[&str], type_: &str) -> bool {
    crate::object::condition::is_true(object.list_at(path), type_)
}
