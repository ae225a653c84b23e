//! Cells of different types in one list.

/// `cells![a, b, c]`: the JSON forms of its arguments.
macro_rules! cells {
    ($($cell:expr),* $(,)?) => { vec![$(serde_json::Value::from($cell)),*] };
}
pub(super) use cells;
