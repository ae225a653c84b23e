//! The bytes of a change in the log.
//!
//! kind (1 byte), time to live in milliseconds (8, 0: none), length of the key (4), key, value; numbers are little endian.
//! What the key was before follows from the record before it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::store::Change;

const PUT: u8 = 1;
const DELETE: u8 = 2;
const HEAD: usize = 1 + 8 + 4;

/// A change, as its record tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub key: Arc<str>,
    /// `None`: the key was deleted.
    pub value: Option<Bytes>,
    pub ttl: Option<Duration>,
}

/// The record of a change.
pub(super) fn encode(change: &Change, ttl: Option<Duration>) -> Vec<u8> {
    let (kind, value) = match change {
        Change::Put { entry, .. } => (PUT, &entry.value[..]),
        Change::Delete { .. } => (DELETE, &[][..]),
    };
    let key = change.key().as_bytes();
    let ttl = ttl.map_or(0, |ttl| {
        u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).max(1)
    });
    let mut record = Vec::with_capacity(HEAD + key.len() + value.len());
    record.push(kind);
    record.extend(ttl.to_le_bytes());
    record.extend(u32::try_from(key.len()).unwrap_or(u32::MAX).to_le_bytes());
    record.extend(key);
    record.extend(value);
    record
}

impl Record {
    /// What the bytes say; `None` when they are no record.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        let (ttl, rest) = rest.split_first_chunk::<8>()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let (key, value) = rest.split_at_checked(length)?;
        let ttl = u64::from_le_bytes(*ttl);
        Some(Self {
            key: std::str::from_utf8(key).ok()?.into(),
            value: match *kind {
                PUT => Some(Bytes::copy_from_slice(value)),
                DELETE if value.is_empty() => None,
                _ => return None,
            },
            ttl: (ttl > 0).then(|| Duration::from_millis(ttl)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Entry;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_was_written_is_read(key in ".{0,40}", value in prop::collection::vec(any::<u8>(), 0..100), ttl in 0_u64..100_000) {
            let entry = Entry { key: key.as_str().into(), value: value.into(), created: 1, modified: 2 };
            let ttl = (ttl > 0).then(|| Duration::from_millis(ttl));
            let put = encode(&Change::Put { entry: entry.clone(), previous: None }, ttl);
            prop_assert_eq!(Record::decode(&put), Some(Record { key: entry.key.clone(), value: Some(entry.value.clone()), ttl }));
            let delete = encode(&Change::Delete { previous: entry.clone(), revision: 3 }, None);
            prop_assert_eq!(Record::decode(&delete), Some(Record { key: entry.key, value: None, ttl: None }));
        }

        #[test]
        fn arbitrary_bytes_are_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = Record::decode(&bytes);
        }
    }
}
