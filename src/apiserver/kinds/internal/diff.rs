//! Differences of texts, line by line, as `diff -u` shows them.

use std::fmt::Write as _;

/// So many lines around a change are shown.
const CONTEXT: usize = 3;
/// Longer differences are shown as one.
const MOST_LINES: usize = 400;

/// One line of a difference, with its place in the old and in the new text.
struct Edit<'a> {
    mark: char,
    text: &'a str,
    old: usize,
    new: usize,
}

/// The hunks in which the texts differ.
pub(super) fn unified(old: &[String], new: &[String]) -> String {
    let edits = edits(old, new);
    let mut text = String::new();
    let changed = |edit: &Edit<'_>| edit.mark != ' ';
    let mut at = 0;
    while let Some(first) = edits[at..].iter().position(changed).map(|step| at + step) {
        // A hunk goes on while the gap to the next change is shorter than two contexts.
        let mut last = first;
        while let Some(step) = edits[last + 1..].iter().position(changed) {
            if step > 2 * CONTEXT {
                break;
            }
            last += step + 1;
        }
        let hunk = &edits[first.saturating_sub(CONTEXT)..edits.len().min(last + 1 + CONTEXT)];
        let range = |start: usize, skipped: char| match hunk
            .iter()
            .filter(|edit| edit.mark != skipped)
            .count()
        {
            0 => format!("{start},0"),
            1 => (start + 1).to_string(),
            length => format!("{},{length}", start + 1),
        };
        let _ = writeln!(
            text,
            "@@ -{} +{} @@",
            range(hunk[0].old, '+'),
            range(hunk[0].new, '-')
        );
        for edit in hunk {
            let _ = writeln!(text, "{}{}", edit.mark, edit.text);
        }
        at = last + 1;
    }
    text
}

/// The shortest way from one text to the other.
fn edits<'a>(old: &'a [String], new: &'a [String]) -> Vec<Edit<'a>> {
    let same = |(a, b): &(&String, &String)| a == b;
    let head = old.iter().zip(new).take_while(same).count();
    let rest = (old.len().min(new.len())) - head;
    let tail = old
        .iter()
        .rev()
        .zip(new.iter().rev())
        .take(rest)
        .take_while(same)
        .count();
    let (a, b) = (&old[head..old.len() - tail], &new[head..new.len() - tail]);
    // `common[i][j]`: how many lines `a[i..]` and `b[j..]` share at most.
    let small = a.len() <= MOST_LINES && b.len() <= MOST_LINES;
    let width = b.len() + 1;
    let mut common = vec![0_u16; if small { (a.len() + 1) * width } else { 0 }];
    if small {
        for i in (0..a.len()).rev() {
            for j in (0..b.len()).rev() {
                common[i * width + j] = if a[i] == b[j] {
                    common[(i + 1) * width + j + 1] + 1
                } else {
                    common[(i + 1) * width + j].max(common[i * width + j + 1])
                };
            }
        }
    }
    let mut edits = Vec::new();
    let mut push = |mark: char, text: &'a String, old: usize, new: usize| {
        edits.push(Edit {
            mark,
            text,
            old,
            new,
        });
    };
    for (index, line) in old[..head].iter().enumerate() {
        push(' ', line, index, index);
    }
    let (mut i, mut j) = (0, 0);
    while i < a.len() || j < b.len() {
        let (from, to) = (head + i, head + j);
        if small && i < a.len() && j < b.len() && a[i] == b[j] {
            push(' ', &a[i], from, to);
            (i, j) = (i + 1, j + 1);
        } else if i < a.len()
            && (!small || j == b.len() || common[(i + 1) * width + j] >= common[i * width + j + 1])
        {
            push('-', &a[i], from, to);
            i += 1;
        } else {
            push('+', &b[j], from, to);
            j += 1;
        }
    }
    for (index, line) in old[old.len() - tail..].iter().enumerate() {
        push(
            ' ',
            line,
            old.len() - tail + index,
            new.len() - tail + index,
        );
    }
    edits
}
