//! The bytes of a change in the log.
//!
//! kind (1 byte), time to live in milliseconds (8, 0: none), length of the key (4), the revision that created the key (8, of
//! updates only), key, value; numbers are little endian. What the key was before follows from the record before it, which may
//! be gone: that is why an update knows when its key was created.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::store::{Change, Revision};

const PUT: u8 = 1;
const DELETE: u8 = 2;
const UPDATE: u8 = 3;
const HEAD: usize = 1 + 8 + 4;

/// A change, as its record tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub key: Arc<str>,
    /// `None`: the key was deleted.
    pub value: Option<Bytes>,
    /// When the key was created, for an update.
    pub created: Option<Revision>,
    pub ttl: Option<Duration>,
}

/// The record of a change.
pub(super) fn encode(change: &Change, ttl: Option<Duration>) -> Vec<u8> {
    let (kind, created, value) = match change {
        Change::Put { entry, .. } if entry.created < entry.modified => {
            (UPDATE, Some(entry.created), &entry.value[..])
        }
        Change::Put { entry, .. } => (PUT, None, &entry.value[..]),
        Change::Delete { .. } => (DELETE, None, &[][..]),
    };
    let key = change.key().as_bytes();
    let ttl = ttl.map_or(0, |ttl| {
        u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).max(1)
    });
    let mut record = Vec::with_capacity(HEAD + size_of::<Revision>() + key.len() + value.len());
    record.push(kind);
    record.extend(ttl.to_le_bytes());
    record.extend(u32::try_from(key.len()).unwrap_or(u32::MAX).to_le_bytes());
    record.extend(created.into_iter().flat_map(Revision::to_le_bytes));
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
        let (created, rest) = match *kind {
            UPDATE => {
                let (created, rest) = rest.split_first_chunk::<8>()?;
                (Some(u64::from_le_bytes(*created)), rest)
            }
            _ => (None, rest),
        };
        let (key, value) = rest.split_at_checked(length)?;
        let ttl = u64::from_le_bytes(*ttl);
        Some(Self {
            key: std::str::from_utf8(key).ok()?.into(),
            value: match *kind {
                PUT | UPDATE => Some(Bytes::copy_from_slice(value)),
                DELETE if value.is_empty() => None,
                _ => return None,
            },
            created,
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
        fn what_was_written_is_read(key in ".{0,40}", value in prop::collection::vec(any::<u8>(), 0..100), created in 1_u64..3, ttl in 0_u64..100_000) {
            let entry = Entry { key: key.as_str().into(), value: value.into(), created, modified: 2 };
            let ttl = (ttl > 0).then(|| Duration::from_millis(ttl));
            let put = encode(&Change::Put { entry: entry.clone(), previous: None }, ttl);
            prop_assert_eq!(Record::decode(&put), Some(Record { key: entry.key.clone(), value: Some(entry.value.clone()), created: (created < 2).then_some(created), ttl }));
            let delete = encode(&Change::Delete { previous: entry.clone(), revision: 3 }, None);
            prop_assert_eq!(Record::decode(&delete), Some(Record { key: entry.key, value: None, created: None, ttl: None }));
        }

        #[test]
        fn arbitrary_bytes_are_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = Record::decode(&bytes);
        }
    }
}
