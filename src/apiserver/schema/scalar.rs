//! The scalars that Go reads with code of their own: times and base64, with Go's messages, and their canonical texts.
//! Quantities are [`crate::object::Quantity`]'s matter.

/// The zero time, which Go writes as null.
const ZERO: &str = "0001-01-01T00:00:00Z";

/// A time read from RFC 3339.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Time {
    /// The text is canonical.
    Same,
    /// The canonical text.
    Text(String),
    /// The zero time.
    Zero,
}

/// Reads an RFC 3339 time; `micro`: with exactly six digits after the seconds. Otherwise a fraction is cut off.
///
/// # Errors
/// Go's message.
pub(super) fn time(text: &str, micro: bool) -> Result<Time, String> {
    if is_plain(text, micro) {
        return Ok(if !micro && text == ZERO {
            Time::Zero
        } else {
            Time::Same
        });
    }
    let layout = if micro {
        "2006-01-02T15:04:05.000000Z07:00"
    } else {
        "2006-01-02T15:04:05Z07:00"
    };
    let parsed = parse_time(text, micro).map_err(|failure| match failure {
        Failure::Cannot(value, element) => format!(
            "parsing time {} as {}: cannot parse {} as {}",
            quote(text),
            quote(layout),
            quote(value),
            quote(element)
        ),
        Failure::Message(message) => format!("parsing time {}{message}", quote(text)),
    })?;
    Ok(parsed.canonical(micro))
}

/// Whether the text is a canonical time of an ordinary date, the common case: no more is asked of it.
fn is_plain(text: &str, micro: bool) -> bool {
    let shape: &[u8] = if micro {
        b"dddd-dd-ddTdd:dd:dd.ddddddZ"
    } else {
        b"dddd-dd-ddTdd:dd:ddZ"
    };
    let bytes = text.as_bytes();
    let pair = |at: usize| {
        bytes
            .get(at..at + 2)
            .and_then(|pair| std::str::from_utf8(pair).ok())
            .and_then(|pair| pair.parse::<u8>().ok())
            .unwrap_or(u8::MAX)
    };
    bytes.len() == shape.len()
        && bytes.iter().zip(shape).all(|(byte, shape)| match shape {
            b'd' => byte.is_ascii_digit(),
            other => byte == other,
        })
        && (1..=12).contains(&pair(5))
        && (1..=28).contains(&pair(8))
        && pair(11) < 24
        && pair(14) < 60
        && pair(17) < 60
}

enum Failure<'a> {
    /// What could not be parsed, as which element of the layout.
    Cannot(&'a str, &'static str),
    Message(String),
}

struct Parsed {
    year: i64,
    month: i64,
    day: i64,
    hour: i64,
    minute: i64,
    second: i64,
    nanos: i64,
    /// Seconds east of UTC.
    offset: i64,
}

/// Go's `time.Parse` for the two layouts.
fn parse_time(text: &str, micro: bool) -> Result<Parsed, Failure<'_>> {
    let mut rest = text;
    let year = {
        let Some(digits) = rest.get(..4).filter(|part| all_digits(part)) else {
            return Err(Failure::Cannot(rest, "2006"));
        };
        rest = &rest[4..];
        digits.parse().unwrap_or_default()
    };
    let out = |name: &str| Failure::Message(format!(": {name} out of range"));
    literal(&mut rest, "-")?;
    let month = number(&mut rest, true, "01")?;
    if !(1..=12).contains(&month) {
        return Err(out("month"));
    }
    literal(&mut rest, "-")?;
    let day = number(&mut rest, true, "02")?;
    literal(&mut rest, "T")?;
    let hour = number(&mut rest, false, "15")?;
    if hour > 23 {
        return Err(out("hour"));
    }
    literal(&mut rest, ":")?;
    let minute = number(&mut rest, true, "04")?;
    if minute > 59 {
        return Err(out("minute"));
    }
    literal(&mut rest, ":")?;
    let second = number(&mut rest, true, "05")?;
    if second > 59 {
        return Err(out("second"));
    }
    let mut nanos = 0;
    let fraction = |rest: &str| -> usize {
        let mut bytes = rest.bytes();
        match bytes.next() {
            Some(b'.' | b',') => bytes.take_while(u8::is_ascii_digit).count(),
            _ => 0,
        }
    };
    let digits = fraction(rest);
    if micro {
        if digits < 6 {
            return Err(Failure::Cannot(rest, ".000000"));
        }
        nanos = rest[1..7].parse::<i64>().unwrap_or_default() * 1000;
        rest = &rest[7..];
    } else if digits > 0 {
        rest = &rest[1 + digits..];
    }
    let offset = zone(&mut rest)?;
    if !rest.is_empty() {
        return Err(Failure::Message(format!(": extra text: {}", quote(rest))));
    }
    if day < 1 || day > days_in(year, month) {
        return Err(out("day"));
    }
    Ok(Parsed {
        year,
        month,
        day,
        hour,
        minute,
        second,
        nanos,
        offset,
    })
}

fn all_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

fn literal<'a>(rest: &mut &'a str, element: &'static str) -> Result<(), Failure<'a>> {
    *rest = rest
        .strip_prefix(element)
        .ok_or(Failure::Cannot(rest, element))?;
    Ok(())
}

/// One or two digits; `fixed`: two.
fn number<'a>(rest: &mut &'a str, fixed: bool, element: &'static str) -> Result<i64, Failure<'a>> {
    let length = if rest.get(..2).is_some_and(all_digits) {
        2
    } else if !fixed && rest.get(..1).is_some_and(all_digits) {
        1
    } else {
        return Err(Failure::Cannot(rest, element));
    };
    let (digits, after) = rest.split_at(length);
    *rest = after;
    Ok(digits.parse().unwrap_or_default())
}

fn zone<'a>(rest: &mut &'a str) -> Result<i64, Failure<'a>> {
    if let Some(after) = rest.strip_prefix('Z') {
        *rest = after;
        return Ok(0);
    }
    let bad = Failure::Cannot(rest, "Z07:00");
    let Some(zone) = rest.get(..6) else {
        return Err(bad);
    };
    let parts = (
        zone.get(..1),
        zone.get(1..3),
        zone.get(3..4),
        zone.get(4..6),
    );
    let (Some(sign), Some(hours), Some(":"), Some(minutes)) = parts else {
        return Err(bad);
    };
    if !all_digits(hours) || !all_digits(minutes) {
        return Err(bad);
    }
    let (hours, minutes): (i64, i64) = (
        hours.parse().unwrap_or_default(),
        minutes.parse().unwrap_or_default(),
    );
    let out = |name: &str| Failure::Message(format!(": time zone offset {name} out of range"));
    if hours > 24 {
        return Err(out("hour"));
    }
    if minutes > 60 {
        return Err(out("minute"));
    }
    let seconds = (hours * 60 + minutes) * 60;
    let seconds = match sign {
        "+" => seconds,
        "-" => -seconds,
        _ => return Err(bad),
    };
    *rest = &rest[6..];
    Ok(seconds)
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

impl Parsed {
    /// The canonical text, in UTC.
    fn canonical(&self, micro: bool) -> Time {
        let seconds = (days(self.year, self.month, self.day) * 24 + self.hour) * 3600
            + self.minute * 60
            + self.second
            - self.offset;
        if seconds == days(1, 1, 1) * 86_400 && (self.nanos == 0 || !micro) {
            return Time::Zero;
        }
        let (year, month, day) = date(seconds.div_euclid(86_400));
        let second = seconds.rem_euclid(86_400);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        let date = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
        Time::Text(if micro {
            format!("{date}.{:06}Z", self.nanos / 1000)
        } else {
            format!("{date}Z")
        })
    }
}

/// Days since 1970-01-01 in the proleptic Gregorian calendar. Years begin in March, so that leap days come last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The date of a day since 1970-01-01.
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

/// As Go's `time` package quotes values in messages.
fn quote(text: &str) -> String {
    use std::fmt::Write as _;
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => {
                quoted.push('\\');
                quoted.push(character);
            }
            ' '..='~' => quoted.push(character),
            _ => {
                for byte in character.encode_utf8(&mut [0; 4]).bytes() {
                    // Writing to a string does not fail.
                    let _ = write!(quoted, "\\x{byte:02x}");
                }
            }
        }
    }
    quoted.push('"');
    quoted
}

/// Checks base64 text. `Some`: the canonical text, when it is another.
///
/// # Errors
/// Go's message.
pub(super) fn base64(text: &str) -> Result<Option<String>, String> {
    if is_canonical(text.as_bytes()) {
        return Ok(None);
    }
    let bytes = text.as_bytes();
    let illegal = |at: usize| format!("illegal base64 data at input byte {at}");
    let newline = |at: usize| matches!(bytes.get(at), Some(b'\n' | b'\r'));
    let mut symbols = String::with_capacity(bytes.len());
    let (mut at, mut filled, mut last) = (0, 0, 0);
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        if newline(at - 1) {
            continue;
        }
        if let Some(value) = sextet(byte) {
            symbols.push(char::from(byte));
            last = value;
            filled = (filled + 1) % 4;
            continue;
        }
        if byte != b'=' || filled < 2 {
            return Err(illegal(at - 1));
        }
        if filled == 2 {
            while newline(at) {
                at += 1;
            }
            match bytes.get(at) {
                None => return Err(illegal(bytes.len())),
                Some(b'=') => at += 1,
                Some(_) => return Err(illegal(at - 1)),
            }
        }
        while newline(at) {
            at += 1;
        }
        if at < bytes.len() {
            return Err(illegal(at));
        }
        // The bits that no byte takes are dropped.
        symbols.pop();
        symbols.push(symbol(
            last & if filled == 2 { 0b11_0000 } else { 0b11_1100 },
        ));
        symbols.push_str(if filled == 2 { "==" } else { "=" });
        filled = 0;
    }
    if filled != 0 {
        return Err(illegal(bytes.len().saturating_sub(filled)));
    }
    Ok(Some(symbols))
}

/// Whether it is base64 in its only canonical form.
fn is_canonical(bytes: &[u8]) -> bool {
    let body = match bytes {
        [body @ .., b'=', b'='] | [body @ .., b'='] | body => body,
    };
    let spare = match bytes.len() - body.len() {
        0 => 0,
        1 => 0b11,
        _ => 0b1111,
    };
    bytes.len().is_multiple_of(4)
        && body.iter().all(|byte| sextet(*byte).is_some())
        && body
            .last()
            .and_then(|byte| sextet(*byte))
            .is_none_or(|last| last & spare == 0)
}

/// The text of bytes given as a JSON list of numbers, which Go takes too.
pub(super) fn base64_of(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let at = |index: usize| u32::from(chunk.get(index).copied().unwrap_or_default());
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for index in 0..4 {
            if index <= chunk.len() {
                let shift = 18 - 6 * index;
                text.push(symbol(u8::try_from(bits >> shift & 63).unwrap_or_default()));
            } else {
                text.push('=');
            }
        }
    }
    text
}

fn sextet(byte: u8) -> Option<u8> {
    Some(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    })
}

fn symbol(value: u8) -> char {
    char::from(match value {
        0..=25 => b'A' + value,
        26..=51 => b'a' + value - 26,
        52..=61 => b'0' + value - 52,
        62 => b'+',
        _ => b'/',
    })
}
