//! X.509 certificates (RFC 5280), as far as who signs with them, or renews them, has to know.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::der::{
    BOOLEAN, Element, GENERALIZED_TIME, OCTET_STRING, OID, Reader, SEQUENCE, UTC_TIME, element,
};
use super::pem;

/// The identifier of a certificate's key.
const KEY_ID: &[u8] = &[0x55, 0x1d, 0x0e];
/// The tag of the extensions.
const EXTENSIONS: u8 = 0xa3;
/// The tag of the version.
const VERSION: u8 = 0xa0;

/// A certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Certificate {
    /// Whose it is, in DER.
    pub(crate) subject: Vec<u8>,
    pub(crate) from: Timestamp,
    pub(crate) until: Timestamp,
    /// The identifier of its key; empty: none.
    pub(crate) key_id: Vec<u8>,
}

impl Certificate {
    /// The first certificate in a PEM text.
    pub(crate) fn from_pem(text: &str) -> Option<Self> {
        let blocks = pem::all(text);
        let block = blocks.iter().find(|block| block.label == "CERTIFICATE")?;
        Self::parse(&block.content)
    }

    fn parse(content: &[u8]) -> Option<Self> {
        let certificate = Reader::new(content).take(SEQUENCE)?;
        let mut fields = certificate.reader().take(SEQUENCE)?.reader();
        let first = fields.any()?;
        if first.tag == VERSION {
            fields.any()?;
        }
        let (_algorithm, _issuer) = (fields.take(SEQUENCE)?, fields.take(SEQUENCE)?);
        let mut validity = fields.take(SEQUENCE)?.reader();
        let (from, until) = (read_time(validity.any()?)?, read_time(validity.any()?)?);
        let subject = fields.take(SEQUENCE)?.whole.to_vec();
        let mut key_id = Vec::new();
        while let Some(field) = fields.any() {
            if field.tag == EXTENSIONS {
                key_id = read_key_id(field).unwrap_or_default();
            }
        }
        Some(Self {
            subject,
            from,
            until,
            key_id,
        })
    }
}

fn read_key_id(extensions: Element<'_>) -> Option<Vec<u8>> {
    let mut extensions = extensions.reader().take(SEQUENCE)?.reader();
    loop {
        let mut extension = extensions.take(SEQUENCE)?.reader();
        if extension.take(OID)?.content != KEY_ID {
            continue;
        }
        let mut value = extension.any()?;
        if value.tag == BOOLEAN {
            value = extension.any()?;
        }
        return Some(value.reader().take(OCTET_STRING)?.content.to_vec());
    }
}

fn read_time(time: Element<'_>) -> Option<Timestamp> {
    let text = std::str::from_utf8(time.content).ok()?;
    let text = match time.tag {
        // Two digits of the year: the half century decides (RFC 5280, 4.1.2.5.1).
        UTC_TIME => {
            let year: u8 = text.get(..2)?.parse().ok()?;
            format!("{}{text}", if year < 50 { "20" } else { "19" })
        }
        GENERALIZED_TIME => text.to_owned(),
        _ => return None,
    };
    let time = DateTime::strptime("%Y%m%d%H%M%SZ", text).ok()?;
    Some(time.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

/// A time in DER.
pub(super) fn time(time: Timestamp) -> Vec<u8> {
    let utc = time.to_zoned(TimeZone::UTC);
    if (1950..2050).contains(&utc.year()) {
        let text = utc.strftime("%y%m%d%H%M%SZ").to_string();
        element(UTC_TIME, text.as_bytes())
    } else {
        let text = utc.strftime("%Y%m%d%H%M%SZ").to_string();
        element(GENERALIZED_TIME, text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_and_read() {
        for text in [
            "2026-01-02T03:04:05Z",
            "2049-12-31T23:59:59Z",
            "2050-01-01T00:00:00Z",
            "1999-01-01T00:00:00Z",
        ] {
            let written = time(text.parse().unwrap());
            let read = read_time(Reader::new(&written).any().unwrap()).unwrap();
            assert_eq!(read.to_string(), text);
        }
    }
}
