//! Command-line flags as Kubernetes' own programs take them: `--name=value`, `--name value`, and `--name` for switches.

use std::collections::BTreeMap;
use std::str::FromStr;

use anyhow::{Result, anyhow, bail};

/// A flag that a program knows.
#[derive(Clone, Copy)]
pub(crate) struct Flag {
    /// Its name without the dashes.
    pub(crate) name: &'static str,
    /// What stands for its value in the help; empty for a switch.
    pub(crate) value: &'static str,
    /// What it is for.
    pub(crate) help: &'static str,
}

/// A flag of this name.
pub(crate) const fn flag(name: &'static str, value: &'static str, help: &'static str) -> Flag {
    Flag { name, value, help }
}

/// The flags given.
pub(crate) struct Flags(BTreeMap<String, Vec<String>>);

impl Flags {
    /// Parses `arguments`. `None` when help was asked for. Unknown flags are given to `unknown`, which may refuse them.
    pub(crate) fn parse(
        known: &[Flag],
        arguments: impl Iterator<Item = String>,
        mut unknown: impl FnMut(&str) -> Result<()>,
    ) -> Result<Option<Self>> {
        let mut given: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut arguments = arguments.peekable();
        while let Some(argument) = arguments.next() {
            if matches!(argument.as_str(), "-h" | "--help") {
                return Ok(None);
            }
            let Some(flag) = argument.strip_prefix("--") else {
                bail!("{argument:?} is no flag");
            };
            let (name, value) = match flag.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (flag, None),
            };
            let Some(flag) = known.iter().find(|flag| flag.name == name) else {
                unknown(name)?;
                if value.is_none() && arguments.peek().is_some_and(|next| !next.starts_with('-')) {
                    arguments.next();
                }
                continue;
            };
            let value = match value {
                Some(value) => value,
                None if flag.value.is_empty() => "true".to_owned(),
                None => arguments
                    .next()
                    .ok_or_else(|| anyhow!("--{name} needs a value: {}", flag.value))?,
            };
            given.entry(name.to_owned()).or_default().push(value);
        }
        Ok(Some(Self(given)))
    }

    /// Each flag that was given, with all its values.
    pub(crate) fn given(&self) -> impl Iterator<Item = (&str, String)> {
        self.0
            .iter()
            .map(|(name, values)| (name.as_str(), values.join(",")))
    }

    /// The last value of a flag.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.last().map(String::as_str)
    }

    /// The last value of a flag, parsed.
    pub(crate) fn value<T: FromStr>(&self, name: &str) -> Result<Option<T>>
    where
        T::Err: std::fmt::Display,
    {
        let parse = |text: &str| {
            text.parse()
                .map_err(|error| anyhow!("--{name}={text}: {error}"))
        };
        self.get(name).map(parse).transpose()
    }

    /// Whether a switch is on; `default`: when it was not given.
    pub(crate) fn is_on(&self, name: &str, default: bool) -> Result<bool> {
        Ok(self.value(name)?.unwrap_or(default))
    }

    /// The comma-separated values of a flag, of all times it was given.
    pub(crate) fn list(&self, name: &str) -> Vec<&str> {
        let given = self.0.get(name).into_iter().flatten();
        given
            .flat_map(|text| text.split(','))
            .map(str::trim)
            .filter(|text| !text.is_empty())
            .collect()
    }
}

/// The help text: a line a flag.
pub(crate) fn help(usage: &str, known: &[Flag]) -> String {
    let lines = known.iter().map(|flag| {
        let left = format!("--{} {}", flag.name, flag.value);
        format!("  {left:<44} {}\n", flag.help)
    });
    format!("{usage}\n\n{}", lines.collect::<String>())
}
