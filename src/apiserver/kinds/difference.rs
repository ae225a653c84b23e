//! How the real server shows what differs between two objects: a unified diff of their own form, indented
//! (`k8s.io/apimachinery/pkg/util/diff` over `go-difflib`).

use std::collections::BTreeMap;

use serde_json::Value;

use crate::apiserver::schema::internal;

/// Lines around a change that are shown.
const CONTEXT: usize = 3;
/// In texts this long, lines that make up more than a hundredth of it find nothing.
const LONG: usize = 200;

/// The difference between two values of this definition; nothing when they are the same.
pub(super) fn of(definition: &str, old: &Value, new: &Value) -> String {
    let text = |value: &Value| indented(&internal::text(definition, value));
    let (old, new) = (text(old), text(new));
    let lines = |text: &'_ str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    unified(&lines(&old), &lines(&new))
}

/// Compact JSON with a line for each value, one space deeper for each level.
fn indented(json: &str) -> String {
    let mut out = String::with_capacity(json.len() * 2);
    let (mut depth, mut in_text, mut escaped) = (0, false, false);
    let newline = |out: &mut String, depth: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n(' ', depth));
    };
    let mut characters = json.chars().peekable();
    while let Some(character) = characters.next() {
        if in_text {
            out.push(character);
            in_text = escaped || character != '"';
            escaped = !escaped && character == '\\';
            continue;
        }
        match character {
            '{' | '[' => {
                out.push(character);
                if let Some(end) = characters.next_if(|next| matches!(next, '}' | ']')) {
                    out.push(end);
                } else {
                    depth += 1;
                    newline(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth -= 1;
                newline(&mut out, depth);
                out.push(character);
            }
            ',' => {
                out.push(',');
                newline(&mut out, depth);
            }
            ':' => out.push_str(": "),
            '"' => {
                in_text = true;
                out.push('"');
            }
            other => out.push(other),
        }
    }
    out
}

/// A run of equal lines: where it begins in both, and how long it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Block {
    old: usize,
    new: usize,
    len: usize,
}

/// A stretch that is kept, replaced, taken out or put in: the lines of both.
#[derive(Clone, Copy, Debug)]
struct Change {
    equal: bool,
    old: (usize, usize),
    new: (usize, usize),
}

fn unified(old: &[String], new: &[String]) -> String {
    let mut text = String::new();
    for group in groups(changes(old, new)) {
        let (Some(first), Some(last)) = (group.first(), group.last()) else {
            continue;
        };
        let (in_old, in_new) = (
            range(first.old.0, last.old.1),
            range(first.new.0, last.new.1),
        );
        text.extend(["@@ -", &in_old, " +", &in_new, " @@\n"]);
        for change in &group {
            let mut write = |sign: char, lines: &[String], (start, end): (usize, usize)| {
                for line in lines.get(start..end).unwrap_or_default() {
                    text.push(sign);
                    text.push_str(line);
                    text.push('\n');
                }
            };
            if change.equal {
                write(' ', old, change.old);
            } else {
                write('-', old, change.old);
                write('+', new, change.new);
            }
        }
    }
    text
}

fn range(start: usize, end: usize) -> String {
    match end - start {
        1 => format!("{}", start + 1),
        0 => format!("{start},0"),
        length => format!("{},{length}", start + 1),
    }
}

/// The changes with the lines around them; those that are near each other are together.
fn groups(mut changes: Vec<Change>) -> Vec<Vec<Change>> {
    if let Some(first) = changes.first_mut().filter(|change| change.equal) {
        first.old.0 = first.old.0.max(first.old.1.saturating_sub(CONTEXT));
        first.new.0 = first.new.0.max(first.new.1.saturating_sub(CONTEXT));
    }
    if let Some(last) = changes.last_mut().filter(|change| change.equal) {
        last.old.1 = last.old.1.min(last.old.0 + CONTEXT);
        last.new.1 = last.new.1.min(last.new.0 + CONTEXT);
    }
    let mut groups: Vec<Vec<Change>> = Vec::new();
    let mut group: Vec<Change> = Vec::new();
    for mut change in changes {
        if change.equal && change.old.1 - change.old.0 > 2 * CONTEXT {
            let mut end = change;
            end.old.1 = end.old.1.min(end.old.0 + CONTEXT);
            end.new.1 = end.new.1.min(end.new.0 + CONTEXT);
            group.push(end);
            groups.push(std::mem::take(&mut group));
            change.old.0 = change.old.1.saturating_sub(CONTEXT);
            change.new.0 = change.new.1.saturating_sub(CONTEXT);
        }
        group.push(change);
    }
    if !group.is_empty() {
        groups.push(group);
    }
    groups.retain(|group| group.iter().any(|change| !change.equal));
    groups
}

fn changes(old: &[String], new: &[String]) -> Vec<Change> {
    let (mut at_old, mut at_new) = (0, 0);
    let mut changes = Vec::new();
    for block in blocks(old, new) {
        if at_old < block.old || at_new < block.new {
            changes.push(Change {
                equal: false,
                old: (at_old, block.old),
                new: (at_new, block.new),
            });
        }
        (at_old, at_new) = (block.old + block.len, block.new + block.len);
        if block.len > 0 {
            changes.push(Change {
                equal: true,
                old: (block.old, at_old),
                new: (block.new, at_new),
            });
        }
    }
    changes
}

/// The equal runs, in order; the last one is empty and at the end of both.
fn blocks(old: &[String], new: &[String]) -> Vec<Block> {
    let mut places: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, line) in new.iter().enumerate() {
        places.entry(line).or_default().push(index);
    }
    if new.len() >= LONG {
        let most = new.len() / 100 + 1;
        places.retain(|_, indexes| indexes.len() <= most);
    }
    let mut found = Vec::new();
    let mut queue = vec![((0, old.len()), (0, new.len()))];
    while let Some((in_old, in_new)) = queue.pop() {
        let block = longest(old, new, &places, in_old, in_new);
        if block.len == 0 {
            continue;
        }
        queue.push(((in_old.0, block.old), (in_new.0, block.new)));
        queue.push((
            (block.old + block.len, in_old.1),
            (block.new + block.len, in_new.1),
        ));
        found.push(block);
    }
    found.sort_unstable_by_key(|block| block.old);
    let mut joined: Vec<Block> = Vec::new();
    for block in found {
        match joined.last_mut() {
            Some(last) if last.old + last.len == block.old && last.new + last.len == block.new => {
                last.len += block.len;
            }
            _ => joined.push(block),
        }
    }
    joined.push(Block {
        old: old.len(),
        new: new.len(),
        len: 0,
    });
    joined
}

/// The longest equal run within the two stretches, the first of them where there are several.
fn longest(
    old: &[String],
    new: &[String],
    places: &BTreeMap<&str, Vec<usize>>,
    in_old: (usize, usize),
    in_new: (usize, usize),
) -> Block {
    let mut best = Block {
        old: in_old.0,
        new: in_new.0,
        len: 0,
    };
    // How long the run is that ends at each line of `new` and at the line of `old` before.
    let mut runs: BTreeMap<usize, usize> = BTreeMap::new();
    for (index, line) in old.iter().enumerate().take(in_old.1).skip(in_old.0) {
        let mut next = BTreeMap::new();
        let indexes = places.get(line.as_str()).map_or(&[][..], Vec::as_slice);
        for &at in indexes
            .iter()
            .filter(|at| (in_new.0..in_new.1).contains(*at))
        {
            let before = at.checked_sub(1).and_then(|before| runs.get(&before));
            let len = before.copied().unwrap_or(0) + 1;
            next.insert(at, len);
            if len > best.len {
                best = Block {
                    old: index + 1 - len,
                    new: at + 1 - len,
                    len,
                };
            }
        }
        runs = next;
    }
    while best.old > in_old.0
        && best.new > in_new.0
        && old.get(best.old - 1) == new.get(best.new - 1)
    {
        best.old -= 1;
        best.new -= 1;
        best.len += 1;
    }
    while best.old + best.len < in_old.1
        && best.new + best.len < in_new.1
        && old.get(best.old + best.len) == new.get(best.new + best.len)
    {
        best.len += 1;
    }
    best
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn texts_are_indented_as_go_does() {
        assert_eq!(
            indented(r#"{"A":[],"B":{"C":"x,\"{","D":[1,{}]}}"#),
            "{\n \"A\": [],\n \"B\": {\n  \"C\": \"x,\\\"{\",\n  \"D\": [\n   1,\n   {}\n  ]\n }\n}"
        );
    }

    #[test]
    fn changes_are_shown_with_their_surroundings() {
        for (old, new, expected) in [
            ("a b c", "a b c", ""),
            ("a b c", "a x c", "@@ -1,3 +1,3 @@\n a\n-b\n+x\n c\n"),
            (
                "a b c d e f g h i j k l",
                "x b c d e f g h i j k",
                "@@ -1,4 +1,4 @@\n-a\n+x\n b\n c\n d\n@@ -9,4 +9,3 @@\n i\n j\n k\n-l\n",
            ),
            ("a", "a b", "@@ -1 +1,2 @@\n a\n+b\n"),
            ("", "a", "@@ -0,0 +1 @@\n+a\n"),
        ] {
            assert_eq!(unified(&lines(old), &lines(new)), expected);
        }
    }

    #[test]
    fn structs_are_shown_in_their_own_form() {
        let with = |path: &str| json!({ "hostPath": { "path": path, "type": "" } });
        assert_eq!(
            of(
                "api.core.v1.PersistentVolumeSpec#v1.PersistentVolumeSource",
                &with("/x"),
                &with("/other")
            ),
            "@@ -2,7 +2,7 @@\n  \"GCEPersistentDisk\": null,\n  \"AWSElasticBlockStore\": null,\n  \"HostPath\": {\n-  \"Path\": \"/x\",\n+  \"Path\": \"/other\",\n   \"Type\": \"\"\n  },\n  \"Glusterfs\": null,\n"
        );
        let spec = "api.core.v1.PersistentVolumeClaimSpec";
        let claim =
            |volume: &str, class: &str| json!({ "volumeName": volume, "storageClassName": class });
        assert_eq!(
            of(spec, &claim("", "a"), &claim("v", "b")),
            "@@ -5,8 +5,8 @@\n   \"Limits\": null,\n   \"Requests\": null\n  },\n- \"VolumeName\": \"\",\n- \"StorageClassName\": \"a\",\n\
             + \"VolumeName\": \"v\",\n+ \"StorageClassName\": \"b\",\n  \"VolumeMode\": null,\n  \"DataSource\": null,\n  \"DataSourceRef\": null,\n"
        );
        assert_eq!(of(spec, &json!({}), &json!({})), "");
    }
}
