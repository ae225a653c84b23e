//! A reader of DER (X.690) and its counterpart, enough for keys, certificates and requests.

/// What is left to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reader<'a>(&'a [u8]);

/// A value with its tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Element<'a> {
    pub(crate) tag: u8,
    pub(crate) content: &'a [u8],
    /// With tag and length.
    pub(crate) whole: &'a [u8],
}

pub(crate) const BOOLEAN: u8 = 0x01;
pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const UTF8_STRING: u8 = 0x0c;
pub(crate) const UTC_TIME: u8 = 0x17;
pub(crate) const GENERALIZED_TIME: u8 = 0x18;
pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const SET: u8 = 0x31;
pub(crate) const BIT_STRING: u8 = 0x03;
pub(crate) const OID: u8 = 0x06;

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next value, whatever it is.
    pub(crate) fn any(&mut self) -> Option<Element<'a>> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81..=0x84 => {
                let (digits, rest) = rest.split_at_checked(usize::from(first - 0x80))?;
                let length = digits
                    .iter()
                    .fold(0, |length, digit| (length << 8) | usize::from(*digit));
                (length, rest)
            }
            _ => return None,
        };
        let (content, after) = rest.split_at_checked(length)?;
        let whole = self.0.get(..self.0.len() - after.len())?;
        self.0 = after;
        Some(Element {
            tag,
            content,
            whole,
        })
    }

    /// The next value, when it has this tag.
    pub(crate) fn take(&mut self, tag: u8) -> Option<Element<'a>> {
        self.any().filter(|element| element.tag == tag)
    }
}

impl<'a> Element<'a> {
    /// The values within.
    pub(crate) fn reader(&self) -> Reader<'a> {
        Reader(self.content)
    }

    /// The bits of a bit string of whole bytes.
    pub(crate) fn bits(&self) -> Option<&'a [u8]> {
        let (unused, bits) = self.content.split_first()?;
        (*unused == 0).then_some(bits)
    }
}

/// A value with its tag and length.
pub(crate) fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let mut bytes = vec![tag];
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => bytes.push(short),
        _ => {
            let digits = length.to_be_bytes();
            let zeros = digits.iter().take_while(|digit| **digit == 0).count();
            let digits = digits.get(zeros..).unwrap_or_default();
            // A length has eight digits at most.
            bytes.push(0x80 | u8::try_from(digits.len()).unwrap_or(0));
            bytes.extend(digits);
        }
    }
    bytes.extend(content);
    bytes
}

/// A sequence of values.
pub(crate) fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    element(SEQUENCE, &parts.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read() {
        let mut reader = Reader::new(&[0x30, 0x03, 0x06, 0x01, 0x2a, 0x03, 0x02, 0x00, 0xff]);
        let sequence = reader.take(SEQUENCE).unwrap();
        assert_eq!(sequence.whole.len(), 5);
        assert_eq!(sequence.reader().take(OID).unwrap().content, [0x2a]);
        assert_eq!(reader.take(BIT_STRING).unwrap().bits(), Some(&[0xff][..]));
        assert!(reader.is_empty());
        let long = [&[0x04, 0x81, 0x80][..], &[7; 128]].concat();
        assert_eq!(Reader::new(&long).any().unwrap().content, [7; 128]);
        for broken in [
            &[][..],
            &[0x30],
            &[0x30, 2, 1],
            &[0x30, 0x80],
            &[0x30, 0x85, 1, 1, 1, 1, 1],
            &[0x30, 0x82, 1],
        ] {
            assert_eq!(Reader::new(broken).any(), None);
        }
    }
}
