//! Frames of SPDY/3.1: as many kinds as a runtime's streaming server speaks. No I/O.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// The length of what every frame begins with.
pub(super) const HEAD: usize = 8;
/// The end of a stream in one direction.
const FIN: u8 = 1;
const VERSION: u16 = 3;

/// A header block is a zlib stream that begins with this: deflate, with the dictionary of SPDY/3, by its checksum.
const ZLIB: [u8; 6] = [0x78, 0xbb, 0xe3, 0xc6, 0xa7, 0xc2];
/// An empty stored block, by which a decoder gives out all it has.
const FLUSH: [u8; 5] = [0, 0, 0, 0xff, 0xff];

/// What every frame begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub kind: Kind,
    pub fin: bool,
    /// Of what follows.
    pub length: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Data of a stream.
    Data(u32),
    /// The other side has taken a stream.
    Reply,
    /// The other side gives up a stream.
    Reset,
    /// To be sent back.
    Ping,
    /// No more streams are taken.
    GoAway,
    /// Something else: settings, windows.
    Other,
}

impl Head {
    pub(super) fn parse(bytes: [u8; HEAD]) -> Self {
        let mut bytes = &bytes[..];
        let first = bytes.get_u32();
        let flags = bytes.get_u8();
        let length = usize::try_from(bytes.get_uint(3)).unwrap_or(usize::MAX);
        let kind = if first >> 31 == 0 {
            Kind::Data(first)
        } else {
            match first & 0xffff {
                2 => Kind::Reply,
                3 => Kind::Reset,
                6 => Kind::Ping,
                7 => Kind::GoAway,
                _ => Kind::Other,
            }
        };
        Self {
            kind,
            fin: flags & FIN != 0,
            length,
        }
    }
}

/// The stream that a control frame is about: its first four bytes.
pub(super) fn stream(body: &[u8]) -> Option<u32> {
    body.first_chunk()
        .map(|bytes| u32::from_be_bytes(*bytes) & 0x7fff_ffff)
}

/// Data of a stream, and whether it is the last.
pub(super) fn data(stream: u32, fin: bool, bytes: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(HEAD + bytes.len());
    frame.put_u32(stream);
    frame.put_u8(if fin { FIN } else { 0 });
    frame.put_uint(bytes.len() as u64, 3);
    frame.put_slice(bytes);
    frame.freeze()
}

/// The answer to a ping: the same.
pub(super) fn ping(body: &[u8]) -> Bytes {
    control(6, false, body)
}

/// Opens streams. The blocks of all of them are one compressed stream.
#[derive(Debug, Default)]
pub(super) struct Opener {
    begun: bool,
}

impl Opener {
    /// Opens a stream with these headers, whose names are in lower case.
    pub(super) fn open(&mut self, stream: u32, fin: bool, headers: &[(&str, &str)]) -> Bytes {
        let mut block = BytesMut::new();
        let mut put = |text: &str| {
            block.put_u32(u32::try_from(text.len()).unwrap_or(0));
            block.put_slice(text.as_bytes());
        };
        for (name, value) in headers {
            put(name);
            put(value);
        }
        let mut body = BytesMut::new();
        body.put_u32(stream);
        // No associated stream, the highest priority, no slot.
        body.put_u32(0);
        body.put_u16(0);
        if !self.begun {
            self.begun = true;
            body.put_slice(&ZLIB);
        }
        // Stored, not squeezed: a few short headers are not worth a compressor.
        let length = u16::try_from(block.len() + 4).unwrap_or(u16::MAX);
        body.put_u8(0);
        body.put_u16_le(length);
        body.put_u16_le(!length);
        body.put_u32(u32::try_from(headers.len()).unwrap_or(0));
        body.put_slice(&block);
        body.put_slice(&FLUSH);
        control(1, fin, &body)
    }
}

fn control(type_: u16, fin: bool, body: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(HEAD + body.len());
    frame.put_u16(0x8000 | VERSION);
    frame.put_u16(type_);
    frame.put_u8(if fin { FIN } else { 0 });
    frame.put_uint(body.len() as u64, 3);
    frame.put_slice(body);
    frame.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(frame: &Bytes) -> Head {
        Head::parse(*frame.first_chunk().unwrap())
    }

    #[test]
    fn frames_read_back() {
        let frame = data(5, true, b"abc");
        let (kind, fin, length) = (Kind::Data(5), true, 3);
        assert_eq!(head(&frame), Head { kind, fin, length });
        assert_eq!(&frame[HEAD..], b"abc");
        assert_eq!(head(&ping(&[0, 0, 0, 2])).kind, Kind::Ping);
        let reply = control(2, false, &[0, 0, 0, 7, 0]);
        assert_eq!(head(&reply).kind, Kind::Reply);
        assert_eq!(stream(&reply[HEAD..]), Some(7));
        assert_eq!(head(&control(9, false, &[])).kind, Kind::Other);
    }

    #[test]
    fn streams_open_with_stored_headers() {
        let mut opener = Opener::default();
        let first = opener.open(1, false, &[("streamtype", "error")]);
        assert_eq!(&first[..4], [0x80, 3, 0, 1]);
        assert_eq!(&first[HEAD + 10..HEAD + 16], ZLIB);
        let second = opener.open(3, true, &[("streamtype", "error")]);
        assert_eq!(second[4], FIN);
        // The same without what a compressed stream begins with.
        assert_eq!(&second[HEAD + 10..], &first[HEAD + 16..]);
        let block = &second[HEAD + 10..];
        assert_eq!(block.len(), 5 + 4 + 4 + 10 + 4 + 5 + 5);
        assert_eq!(&block[..5], [0, 27, 0, 228, 255]);
        assert!(block.ends_with(&FLUSH));
    }
}
