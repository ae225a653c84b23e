//! The formats of strings that are checked (`kube-openapi/pkg/validation/strfmt`); all others say nothing.
use super::{Outcome, Props, within};
use crate::object::field::ErrorKind;
use crate::object::name;
use regex::Regex;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::OnceLock;

/// The formats that are known, sorted.
const KNOWN: [&str; 32] = [
    "bsonobjectid",
    "byte",
    "cidr",
    "creditcard",
    "date",
    "date-time",
    "datetime",
    "double",
    "duration",
    "email",
    "float",
    "hexcolor",
    "hostname",
    "int32",
    "int64",
    "ipv4",
    "ipv6",
    "isbn",
    "isbn10",
    "isbn13",
    "k8s-long-name",
    "k8s-short-name",
    "mac",
    "password",
    "rgbcolor",
    "ssn",
    "uri",
    "uuid",
    "uuid3",
    "uuid4",
    "uuid5",
    "int-or-string",
];

/// Whether a format is one that the server knows; whoever uses another is warned.
pub(crate) fn is_known(format: &str) -> bool {
    KNOWN.contains(&format)
}

pub(super) fn check(schema: &Props, text: &str, name: &str, outcome: &mut Outcome) {
    if schema.format.is_empty() || schema.int_or_string {
        return;
    }
    if matches(&schema.format, text) {
        outcome.right += 1;
        return;
    }
    let why = format!(
        "{} must be of type {}: {text:?}",
        within(name),
        schema.format
    );
    outcome.invalid(ErrorKind::TypeInvalid, name, &text.into(), &why);
}

fn matches(format: &str, text: &str) -> bool {
    // Go's base converter and most patterns take these names without dashes, too.
    match format.replace('-', "").as_str() {
        "bsonobjectid" => text.len() == 24 && text.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "byte" => byte(text),
        "cidr" => cidr(text),
        "date" => text.parse::<jiff::civil::Date>().is_ok() && text.len() == 10,
        "datetime" => date_time(text),
        "duration" => duration(text),
        "email" => email(text),
        "hexcolor" => pattern(&HEX, "^#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$", text),
        "rgbcolor" => pattern(
            &RGB,
            r"^rgb\(\s*(0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5])\s*,\s*(0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5])\s*,\s*(0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5])\s*\)$",
            text,
        ),
        "hostname" => hostname(text),
        "ipv4" => text.parse::<Ipv4Addr>().is_ok(),
        "ipv6" => text.contains(':') && text.parse::<Ipv6Addr>().is_ok(),
        "isbn" => isbn10(text) || isbn13(text),
        "isbn10" => isbn10(text),
        "isbn13" => isbn13(text),
        "creditcard" => credit_card(text),
        "ssn" => pattern(&SSN, r"^\d{3}[- ]?\d{2}[- ]?\d{4}$", text),
        "mac" => mac(text),
        "uri" => uri(text),
        "uuid" => uuid(text, None),
        "uuid3" => uuid(text, Some('3')),
        "uuid4" => uuid(text, Some('4')),
        "uuid5" => uuid(text, Some('5')),
        "k8sshortname" => name::dns_label(text).is_empty(),
        "k8slongname" => name::dns_subdomain(text).is_empty(),
        _ => true,
    }
}

static HEX: OnceLock<Option<Regex>> = OnceLock::new();
static RGB: OnceLock<Option<Regex>> = OnceLock::new();
static SSN: OnceLock<Option<Regex>> = OnceLock::new();
static DURATION: OnceLock<Option<Regex>> = OnceLock::new();
static DATE_TIME: OnceLock<Option<Regex>> = OnceLock::new();

fn pattern(compiled: &OnceLock<Option<Regex>>, text: &str, value: &str) -> bool {
    let regex = compiled.get_or_init(|| Regex::new(text).ok());
    regex.as_ref().is_none_or(|regex| regex.is_match(value))
}

fn byte(text: &str) -> bool {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    let clean: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
    STANDARD.decode(clean).is_ok()
}

fn cidr(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else {
        return false;
    };
    let plain = !bits.is_empty() && bits.len() <= 3 && bits.bytes().all(|b| b.is_ascii_digit());
    let most = if address.parse::<Ipv4Addr>().is_ok() {
        32
    } else if address.parse::<Ipv6Addr>().is_ok() {
        128
    } else {
        return false;
    };
    plain && bits.parse::<u8>().is_ok_and(|bits| bits <= most)
}

fn date_time(text: &str) -> bool {
    pattern(
        &DATE_TIME,
        r"^\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]\d{2}:?\d{2})?$",
        text,
    ) && text
        .get(..10)
        .is_some_and(|date| date.parse::<jiff::civil::Date>().is_ok())
        && text
            .get(11..19)
            .is_some_and(|time| time.parse::<jiff::civil::Time>().is_ok())
}

/// Go's durations, and those with units in words.
fn duration(text: &str) -> bool {
    pattern(
        &DURATION,
        r"^[-+]?(\d+(\.\d*)?|\.\d+)\s*(ns|nano|nanos|nanosecond|nanoseconds|us|µs|μs|micro|micros|microsecond|microseconds|ms|milli|millis|millisecond|milliseconds|s|sec|secs|second|seconds|m|min|mins|minute|minutes|h|hr|hour|hours|d|day|days|w|wk|week|weeks)(\s*(\d+(\.\d*)?|\.\d+)\s*(ns|us|µs|μs|ms|s|m|h))*$|^0$",
        text,
    )
}

fn email(text: &str) -> bool {
    let address = match (text.rfind('<'), text.strip_suffix('>')) {
        (Some(at), Some(_)) => text.get(at + 1..text.len() - 1).unwrap_or_default(),
        _ => text,
    };
    let Some((local, domain)) = address.rsplit_once('@') else {
        return false;
    };
    let word = |c: char| c.is_alphanumeric() || "!#$%&'*+/=?^_`{|}~-".contains(c);
    !local.is_empty()
        && local
            .split('.')
            .all(|part| !part.is_empty() && part.chars().all(word))
        && !domain.is_empty()
        && domain
            .split('.')
            .all(|part| !part.is_empty() && part.chars().all(word))
}

fn hostname(text: &str) -> bool {
    if text.is_empty() || text.len() > 255 {
        return false;
    }
    let whole = text.strip_suffix('.').unwrap_or(text);
    whole.split('.').all(|label| {
        (1..=63).contains(&label.len())
            && label
                .chars()
                .all(|c| c.is_alphanumeric() || c == '-' || c == '_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    })
}

fn digits(text: &str) -> Vec<u32> {
    let kept = text.chars().filter(|c| !matches!(c, '-' | ' '));
    kept.map(|c| {
        c.to_digit(10)
            .unwrap_or(if matches!(c, 'X' | 'x') { 10 } else { 99 })
    })
    .collect()
}

fn isbn10(text: &str) -> bool {
    let digits = digits(text);
    digits.len() == 10
        && digits.iter().take(9).all(|digit| *digit < 10)
        && digits.last().is_some_and(|digit| *digit <= 10)
        && (1..)
            .zip(&digits)
            .map(|(place, digit)| place * digit)
            .sum::<u32>()
            % 11
            == 0
}

fn isbn13(text: &str) -> bool {
    let digits = digits(text);
    digits.len() == 13
        && digits.iter().all(|digit| *digit < 10)
        && digits
            .iter()
            .zip([1, 3].into_iter().cycle())
            .map(|(digit, weight)| digit * weight)
            .sum::<u32>()
            % 10
            == 0
}

fn credit_card(text: &str) -> bool {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(10)).collect();
    let doubled = |(place, digit): (usize, &u32)| {
        if place % 2 == 1 {
            let twice = digit * 2;
            twice / 10 + twice % 10
        } else {
            *digit
        }
    };
    (13..=19).contains(&digits.len())
        && digits.iter().rev().enumerate().map(doubled).sum::<u32>() % 10 == 0
}

fn mac(text: &str) -> bool {
    let hex = |part: &str, length: usize| {
        part.len() == length && part.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    let of = |separator: char, length: usize, counts: &[usize]| {
        let parts: Vec<&str> = text.split(separator).collect();
        counts.contains(&parts.len()) && parts.iter().all(|part| hex(part, length))
    };
    of(':', 2, &[6, 8, 20]) || of('-', 2, &[6, 8, 20]) || of('.', 4, &[3, 4, 10])
}

/// A URI with a scheme, or an absolute path.
fn uri(text: &str) -> bool {
    if text.is_empty() || text.chars().any(|c| c.is_control() || c == ' ') {
        return false;
    }
    if text.starts_with('/') {
        return true;
    }
    let Some((scheme, _)) = text.split_once(':') else {
        return false;
    };
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
}

fn uuid(text: &str, version: Option<char>) -> bool {
    let plain: Vec<char> = text.chars().filter(|c| *c != '-').collect();
    plain.len() == 32
        && plain.iter().all(char::is_ascii_hexdigit)
        && version.is_none_or(|version| {
            let variant = plain.get(16).is_some_and(|c| "89abAB".contains(*c));
            plain.get(12) == Some(&version) && (version == '3' || variant)
        })
}
