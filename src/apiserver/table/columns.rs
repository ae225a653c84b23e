//! The columns, from `columns.tsv`.
use serde::Serialize;
use std::collections::HashMap;
use std::sync::OnceLock;

/// A column of a table (`metav1.TableColumnDefinition`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Column {
    pub name: String,
    #[serde(rename = "type")]
    pub type_: String,
    pub format: String,
    pub description: String,
    pub priority: i32,
}

impl Column {
    /// Those of kinds without columns of their own.
    pub(crate) fn name_and_age() -> Vec<Self> {
        of("").to_vec()
    }
}

/// The columns of the kind `plural.group`; name and age when it has none of its own.
pub(crate) fn of(name: &str) -> &'static [Column] {
    // Looked up only, hence the hash map.
    static TABLES: OnceLock<HashMap<String, Vec<Column>>> = OnceLock::new();
    let tables = TABLES.get_or_init(|| parse(include_str!("columns.tsv")));
    tables
        .get(name)
        .or_else(|| tables.get(""))
        .map(Vec::as_slice)
        .unwrap_or_default()
}

/// By `plural.group`; under `""` the default.
fn parse(text: &str) -> HashMap<String, Vec<Column>> {
    let (mut tables, mut shared) = (HashMap::<String, Vec<Column>>::new(), HashMap::new());
    let mut current = String::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let cells: Vec<&str> = line.split('\t').collect();
        match cells[..] {
            [key] => key.trim_start_matches('@').clone_into(&mut current),
            [key, description] => {
                shared.insert(key, description.replace("\\n", "\n"));
            }
            [name, type_, format, priority, description] => {
                let description = shared
                    .get(description)
                    .cloned()
                    .unwrap_or_else(|| description.replace("\\n", "\n"));
                tables.entry(current.clone()).or_default().push(Column {
                    name: name.to_owned(),
                    type_: type_.to_owned(),
                    format: format.to_owned(),
                    description,
                    priority: priority.parse().unwrap_or(0),
                });
            }
            _ => {}
        }
    }
    // Custom resources without columns of their own.
    let mut default: Vec<Column> = tables
        .get("serviceaccounts")
        .into_iter()
        .flatten()
        .cloned()
        .collect();
    if let Some(age) = default.last_mut() {
        age.type_ = "date".into();
    }
    tables.insert(String::new(), default);
    tables
}
