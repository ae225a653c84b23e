//! Which field has which number in the messages of the API: the schema table, seen by numbers.
use crate::apiserver::schema::table::{self, Line};
use std::collections::BTreeMap;
use std::sync::OnceLock;

static NUMBERS: &str = include_str!("../schema/numbers.tsv");

/// A message: its fields by number.
#[derive(Default)]
pub(super) struct Shape(BTreeMap<u32, Place>);

/// What a number stands for.
pub(super) enum Place {
    Field(Line<'static>),
    /// A message whose fields are this one's in JSON.
    Inline(Shape),
}

impl Shape {
    /// The shape of a definition (without the leading `io.k8s.`); `None`: it has no protobuf form.
    pub(super) fn of(name: &str) -> Option<&'static Self> {
        static SHAPES: OnceLock<BTreeMap<&'static str, Shape>> = OnceLock::new();
        let shapes = SHAPES.get_or_init(|| {
            let lines = NUMBERS.lines().filter(|line| !line.starts_with('#'));
            lines.filter_map(shape).collect()
        });
        shapes.get(name)
    }
    pub(super) fn places(&self) -> impl Iterator<Item = (u32, &Place)> {
        self.0.iter().map(|(number, place)| (*number, place))
    }
    pub(super) fn place(&self, number: u32) -> Option<&Place> {
        self.0.get(&number)
    }
    fn insert(&mut self, path: &str, line: Line<'static>) -> Option<()> {
        match path.split_once('.') {
            None => {
                self.0.insert(path.parse().ok()?, Place::Field(line));
            }
            Some((first, rest)) => {
                let inline = || Place::Inline(Self::default());
                let place = self.0.entry(first.parse().ok()?).or_insert_with(inline);
                if let Place::Inline(shape) = place {
                    shape.insert(rest, line)?;
                }
            }
        }
        Some(())
    }
}

fn shape(line: &'static str) -> Option<(&'static str, Shape)> {
    let mut parts = line.split('\t');
    let name = parts.next()?;
    let slot = table::definition(name)?;
    let numbers: BTreeMap<&str, &str> = parts.filter_map(|part| part.split_once('=')).collect();
    let mut shape = Shape::default();
    for line in slot.lines() {
        if let Some(path) = numbers.get(line.name) {
            shape.insert(path, line)?;
        }
    }
    Some((name, shape))
}
