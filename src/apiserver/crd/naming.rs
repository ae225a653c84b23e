//! Which names a definition may have: those that no other of its group has (`controller/status/naming_controller.go`).
//!
//! Pure: what to write is decided from all definitions as they are.
use super::definition::{Names, is_true, set_condition};
use crate::object::Document;
use serde_json::Value;
use std::collections::BTreeSet;

/// The definition with its names and conditions brought up to date; `None`: nothing is to be done. `others`: all definitions.
pub(crate) fn plan<'a>(
    definition: &Value,
    others: impl Iterator<Item = &'a Value>,
    now: &str,
) -> Option<Value> {
    let requested = Names::of(definition.at(&["spec", "names"]));
    let accepted = Names::of(definition.at(&["status", "acceptedNames"]));
    if requested == accepted {
        return None;
    }
    let group = definition.str_at(&["spec", "group"]);
    let (mut resources, mut kinds) = (BTreeSet::new(), BTreeSet::new());
    for other in others.filter(|other| other.str_at(&["spec", "group"]) == group) {
        let names = Names::of(other.at(&["status", "acceptedNames"]));
        resources.extend([names.plural, names.singular]);
        resources.extend(names.short_names);
        kinds.extend([names.kind, names.list_kind]);
    }
    let mut conflict: Option<(&str, String)> = None;
    let mut take = |wanted: &String, have: &mut String, used: &BTreeSet<String>, reason| {
        if wanted != have && used.contains(wanted) {
            conflict = Some((reason, in_use(wanted)));
        } else {
            have.clone_from(wanted);
        }
    };
    let mut names = accepted.clone();
    take(
        &requested.plural,
        &mut names.plural,
        &resources,
        "PluralConflict",
    );
    take(
        &requested.singular,
        &mut names.singular,
        &resources,
        "SingularConflict",
    );
    let taken: Vec<&String> = requested
        .short_names
        .iter()
        .filter(|name| !accepted.short_names.contains(name))
        .filter(|name| **name != accepted.plural && **name != accepted.singular)
        .filter(|name| resources.contains(*name))
        .collect();
    let short = (requested.short_names != accepted.short_names && !taken.is_empty())
        .then(|| ("ShortNamesConflict", aggregate(&taken)));
    if short.is_none() {
        names.short_names.clone_from(&requested.short_names);
    }
    let mut kind_conflict = None;
    for (wanted, have, reason) in [
        (&requested.kind, &mut names.kind, "KindConflict"),
        (
            &requested.list_kind,
            &mut names.list_kind,
            "ListKindConflict",
        ),
    ] {
        if wanted != have && kinds.contains(wanted) {
            kind_conflict = Some((reason, in_use(wanted)));
        } else {
            have.clone_from(wanted);
        }
    }
    names.categories.clone_from(&requested.categories);
    // The last conflict found is the one that is told.
    let conflict = kind_conflict.or(short).or(conflict);
    let mut planned = definition.clone();
    planned.set_at(&["status", "acceptedNames"], names.to_value());
    match &conflict {
        None => set_condition(
            &mut planned,
            "NamesAccepted",
            "True",
            "NoConflicts",
            "no conflicts found",
            now,
        ),
        Some((reason, message)) => {
            set_condition(&mut planned, "NamesAccepted", "False", reason, message, now);
        }
    }
    if !is_true(definition, "Established") {
        let (reason, message) = if conflict.is_none() {
            ("Installing", "the initial names have been accepted")
        } else {
            ("NotAccepted", "not all names are accepted")
        };
        set_condition(&mut planned, "Established", "False", reason, message, now);
    }
    let same = |path: &[&str]| planned.at(path) == definition.at(path);
    (!same(&["status", "acceptedNames"]) || !same(&["status", "conditions"])).then_some(planned)
}

/// The definition established, when its names are and it is not yet.
pub(crate) fn establish(definition: &Value, now: &str) -> Option<Value> {
    if !is_true(definition, "NamesAccepted") || is_true(definition, "Established") {
        return None;
    }
    let mut planned = definition.clone();
    set_condition(
        &mut planned,
        "Established",
        "True",
        "InitialNamesAccepted",
        "the initial names have been accepted",
        now,
    );
    Some(planned)
}

fn in_use(name: &str) -> String {
    format!("{name:?} is already in use")
}

/// Several errors as one.
fn aggregate(names: &[&String]) -> String {
    let messages: Vec<String> = names.iter().map(|name| in_use(name)).collect();
    match &messages[..] {
        [one] => one.clone(),
        _ => format!("[{}]", messages.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn definition(plural: &str, kind: &str, short: &[&str]) -> Value {
        json!({
            "metadata": {"name": format!("{plural}.g.example.com")},
            "spec": {"group": "g.example.com", "names": {
                "plural": plural, "singular": kind.to_lowercase(), "kind": kind, "listKind": format!("{kind}List"), "shortNames": short,
            }},
        })
    }

    fn condition<'a>(definition: &'a Value, type_: &str) -> (&'a str, &'a str, &'a str) {
        let conditions = definition.list_at(&["status", "conditions"]);
        let found = conditions.iter().find(|c| c["type"] == type_).unwrap();
        (
            found.str_at(&["status"]),
            found.str_at(&["reason"]),
            found.str_at(&["message"]),
        )
    }

    #[test]
    fn names_are_given_once() {
        let first = plan(&definition("foos", "Foo", &["f"]), [].into_iter(), "t").unwrap();
        assert_eq!(
            condition(&first, "NamesAccepted"),
            ("True", "NoConflicts", "no conflicts found")
        );
        assert_eq!(condition(&first, "Established").1, "Installing");
        let first = establish(&first, "t").unwrap();
        assert_eq!(condition(&first, "Established").0, "True");
        assert_eq!(plan(&first, [&first].into_iter(), "t"), None);
        assert_eq!(establish(&first, "t"), None);
        for (other, reason, message) in [
            (
                definition("bars", "Bar", &["f", "b"]),
                "ShortNamesConflict",
                "\"f\" is already in use",
            ),
            (
                definition("bars", "Foo", &[]),
                "ListKindConflict",
                "\"FooList\" is already in use",
            ),
            (
                definition("foo", "Bar", &[]),
                "PluralConflict",
                "\"foo\" is already in use",
            ),
            (
                definition("bars", "Bar", &["f", "foos"]),
                "ShortNamesConflict",
                "[\"f\" is already in use, \"foos\" is already in use]",
            ),
        ] {
            let planned = plan(&other, [&first, &other].into_iter(), "t").unwrap();
            assert_eq!(
                condition(&planned, "NamesAccepted"),
                ("False", reason, message)
            );
            assert_eq!(condition(&planned, "Established").1, "NotAccepted");
            // Nothing more is to be done until the others change.
            assert_eq!(
                plan(&planned, [&first, &planned].into_iter(), "later"),
                None
            );
        }
    }
}
