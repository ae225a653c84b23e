//! The lines of a log as CRI runtimes write them: time, stream, tag, text: `2016-10-06T00:17:09.669794202Z stdout F text`.
//! A line whose tag is `P` goes on in the next.
use std::cmp::Ordering;

use jiff::Timestamp;

use super::{LogOptions, Wanted};

/// A line longer than this is not a runtime's.
const LONGEST: usize = 1 << 20;

/// Turns what a runtime has written into what a client wants.
#[derive(Debug)]
pub(super) struct Filter {
    timestamps: bool,
    since: Option<Timestamp>,
    stream: Wanted,
    /// How many bytes may still be passed.
    left: Option<u64>,
    /// A line whose end was not read yet.
    waiting: Vec<u8>,
    /// Whether the next text begins a line.
    begins: bool,
}

impl Filter {
    pub(super) fn new(options: &LogOptions) -> Self {
        Self {
            timestamps: options.timestamps,
            since: options.since,
            stream: options.stream,
            left: options.limit,
            waiting: Vec::new(),
            begins: true,
        }
    }

    /// Whether the client has as many bytes as it wanted.
    pub(super) fn is_full(&self) -> bool {
        self.left == Some(0)
    }

    /// Takes what was read next; gives what is to be passed on.
    pub(super) fn pass(&mut self, raw: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(raw.len());
        let mut rest = raw;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, after) = rest.split_at(end + 1);
            rest = after;
            if self.waiting.is_empty() {
                self.line(line, &mut out);
            } else {
                let mut whole = std::mem::take(&mut self.waiting);
                whole.extend_from_slice(line);
                self.line(&whole, &mut out);
            }
        }
        if self.waiting.len() + rest.len() <= LONGEST {
            self.waiting.extend_from_slice(rest);
        }
        if let Some(left) = &mut self.left {
            let most = usize::try_from(*left).unwrap_or(usize::MAX);
            out.truncate(most);
            *left -= out.len() as u64;
        }
        out
    }

    fn line(&mut self, line: &[u8], out: &mut Vec<u8>) {
        // What is no such line is left out, as the kubelet does.
        let Some(line) = Line::parse(line) else {
            return;
        };
        let early = self
            .since
            .is_some_and(|since| line.time.cmp(&since) == Ordering::Less);
        let other = match self.stream {
            Wanted::All => false,
            Wanted::Stdout => line.stream != b"stdout",
            Wanted::Stderr => line.stream != b"stderr",
        };
        if early || other {
            return;
        }
        if self.timestamps && self.begins {
            out.extend_from_slice(line.shown);
            out.push(b' ');
        }
        out.extend_from_slice(line.text);
        self.begins = line.text.last().is_none_or(|last| *last == b'\n');
    }
}

struct Line<'a> {
    time: Timestamp,
    /// The time as it is written.
    shown: &'a [u8],
    stream: &'a [u8],
    /// With its end, if it ends here.
    text: &'a [u8],
}

impl<'a> Line<'a> {
    fn parse(line: &'a [u8]) -> Option<Self> {
        let mut parts = line.splitn(4, |byte| *byte == b' ');
        let (shown, stream) = (parts.next()?, parts.next()?);
        let (tag, text) = (parts.next()?, parts.next()?);
        let time = std::str::from_utf8(shown).ok()?.parse().ok()?;
        if !matches!(stream, b"stdout" | b"stderr") {
            return None;
        }
        // Several tags are separated by colons; the first says whether the line ends.
        let goes_on = tag.split(|byte| *byte == b':').next() == Some(b"P");
        let text = if goes_on {
            text.strip_suffix(b"\n").unwrap_or(text)
        } else {
            text
        };
        Some(Self {
            time,
            shown,
            stream,
            text,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "2024-01-01T00:00:01.5Z stdout F one
2024-01-01T00:00:02Z stderr P tw
2024-01-01T00:00:03Z stderr F o
nonsense
2024-01-01T00:00:04Z stdout F
2024-01-01T00:00:05Z stdout F\u{20}
2024-01-01T00:00:06+01:00 stdout F:x three
";

    #[track_caller]
    fn check(options: LogOptions, expected: &str) {
        for size in [1, 7, 1000] {
            let mut filter = Filter::new(&options);
            let pieces = LOG.as_bytes().chunks(size);
            let out: Vec<u8> = pieces.flat_map(|piece| filter.pass(piece)).collect();
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    #[test]
    fn lines_are_passed_on() {
        let all = LogOptions::default();
        check(all.clone(), "one\ntwo\n\nthree\n");
        check(
            LogOptions {
                timestamps: true,
                ..all.clone()
            },
            "2024-01-01T00:00:01.5Z one\n2024-01-01T00:00:02Z two\n2024-01-01T00:00:05Z \n2024-01-01T00:00:06+01:00 three\n",
        );
        check(
            LogOptions {
                since: "2024-01-01T00:00:03Z".parse().ok(),
                ..all.clone()
            },
            "o\n\n",
        );
        check(
            LogOptions {
                stream: Wanted::Stderr,
                ..all.clone()
            },
            "two\n",
        );
        check(
            LogOptions {
                limit: Some(6),
                ..all
            },
            "one\ntw",
        );
    }
}
