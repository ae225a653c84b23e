//! Header blocks: names and values, compressed with a dictionary that both sides know (SPDY draft 3, 2.6.10).
use std::io;
use std::sync::LazyLock;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// A block is never larger, compressed or not.
const LARGEST: usize = 64 << 10;

/// What the dictionary begins with: words, each after its length.
const WORDS: &str = "options head post put delete trace accept accept-charset accept-encoding accept-language \
    accept-ranges age allow authorization cache-control connection content-base content-encoding content-language \
    content-length content-location content-md5 content-range content-type date etag expect expires from host if-match \
    if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma \
    proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade \
    user-agent vary via warning www-authenticate method get status 200_OK version HTTP/1.1 url public set-cookie \
    keep-alive origin";

/// What follows: text without lengths.
const TEXT: &str = "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505\
    203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden\
    404 Not Found500 Internal Server Error501 Not Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept \
    Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,\
    application/xml,application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age=gzip,deflate,sdch\
    charset=utf-8charset=iso-8859-1,utf-,*,enq=0.";

static DICTIONARY: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut bytes = Vec::new();
    for word in WORDS.split(' ').filter(|word| !word.is_empty()) {
        let word = word.replace('_', " ");
        bytes.extend(u32::try_from(word.len()).unwrap_or_default().to_be_bytes());
        bytes.extend(word.as_bytes());
    }
    bytes.extend(TEXT.as_bytes());
    bytes
});

/// Names and values, in order.
pub(super) type Headers = Vec<(String, String)>;

/// Reads the header blocks of one direction, which are one compressed stream.
#[derive(Debug)]
pub(super) struct Decoder(Decompress);

impl Default for Decoder {
    fn default() -> Self {
        Self(Decompress::new(true))
    }
}

impl Decoder {
    /// Reads the next block.
    ///
    /// # Errors
    /// When it is no such block, or too large.
    pub(super) fn decode(&mut self, block: &[u8]) -> io::Result<Headers> {
        let mut plain: Vec<u8> = Vec::with_capacity(1 << 10);
        let mut rest = block;
        loop {
            let (read, written) = (self.0.total_in(), self.0.total_out());
            plain.reserve(1 << 10);
            let result = self
                .0
                .decompress_vec(rest, &mut plain, FlushDecompress::Sync);
            let step = usize::try_from(self.0.total_in() - read).unwrap_or(usize::MAX);
            rest = rest.get(step..).unwrap_or_default();
            match result {
                Err(error) if error.needs_dictionary().is_some() => {
                    self.0.set_dictionary(&DICTIONARY).map_err(|_| invalid())?;
                }
                Err(_) => return Err(invalid()),
                Ok(Status::StreamEnd) => break,
                Ok(_) => {
                    let still = step == 0 && self.0.total_out() == written;
                    if (rest.is_empty() && plain.len() < plain.capacity()) || still {
                        break;
                    }
                }
            }
            if plain.len() > LARGEST {
                return Err(invalid());
            }
        }
        parse(&plain)
    }
}

/// Writes the header blocks of the other direction.
#[derive(Debug)]
pub(in super::super) struct Encoder(Compress);

impl Encoder {
    /// # Errors
    /// When the dictionary is not taken, which does not happen.
    pub(super) fn new() -> io::Result<Self> {
        let mut compress = Compress::new(Compression::new(1), true);
        compress
            .set_dictionary(&DICTIONARY)
            .map_err(|_| invalid())?;
        Ok(Self(compress))
    }

    /// Writes a block.
    ///
    /// # Errors
    /// When it cannot be compressed, which does not happen.
    pub(super) fn encode(&mut self, headers: &[(&str, &str)]) -> io::Result<Vec<u8>> {
        let mut plain = Vec::new();
        let mut put = |text: &str| {
            plain.extend(u32::try_from(text.len()).unwrap_or_default().to_be_bytes());
            plain.extend(text.as_bytes());
        };
        for (name, value) in headers {
            put(name);
            put(value);
        }
        let count = u32::try_from(headers.len()).unwrap_or_default();
        plain.splice(0..0, count.to_be_bytes());
        let mut block = Vec::with_capacity(plain.len() + 64);
        let end = self.0.total_in() + plain.len() as u64;
        let start = self.0.total_in();
        loop {
            let done = usize::try_from(self.0.total_in() - start).unwrap_or(usize::MAX);
            block.reserve(128);
            self.0
                .compress_vec(
                    plain.get(done..).unwrap_or_default(),
                    &mut block,
                    FlushCompress::Sync,
                )
                .map_err(|_| invalid())?;
            if self.0.total_in() >= end && block.len() < block.capacity() {
                return Ok(block);
            }
        }
    }
}

fn parse(mut plain: &[u8]) -> io::Result<Headers> {
    let count = number(&mut plain)?;
    // Each has two lengths at least.
    if count > plain.len() / 8 {
        return Err(invalid());
    }
    let mut text = || {
        let length = number(&mut plain)?;
        let (text, rest) = plain.split_at_checked(length).ok_or_else(invalid)?;
        plain = rest;
        String::from_utf8(text.to_vec()).map_err(|_| invalid())
    };
    (0..count).map(|_| Ok((text()?, text()?))).collect()
}

fn number(bytes: &mut &[u8]) -> io::Result<usize> {
    let (number, rest) = bytes.split_first_chunk::<4>().ok_or_else(invalid)?;
    *bytes = rest;
    usize::try_from(u32::from_be_bytes(*number)).map_err(|_| invalid())
}

fn invalid() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "no SPDY header block")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dictionary_is_the_drafts() {
        assert_eq!(DICTIONARY.len(), 1423);
        // The stream names its dictionary by a checksum, which is well known.
        let block = Encoder::new().unwrap().encode(&[]).unwrap();
        assert_eq!(&block[2..6], [0xe3, 0xc6, 0xa7, 0xc2]);
    }

    #[test]
    fn blocks_share_one_stream() {
        let (mut encoder, mut decoder) = (Encoder::new().unwrap(), Decoder::default());
        let long = "x".repeat(10_000);
        let blocks: [&[(&str, &str)]; 4] = [
            &[
                ("streamtype", "error"),
                ("port", "8080"),
                ("requestid", "0"),
            ],
            &[("streamtype", "data"), ("port", "8080"), ("requestid", "0")],
            &[],
            &[("long", &long)],
        ];
        for block in blocks {
            let bytes = encoder.encode(block).unwrap();
            let found = decoder.decode(&bytes).unwrap();
            let found: Vec<_> = found.iter().map(|(n, v)| (&**n, &**v)).collect();
            assert_eq!(found, block);
        }
        assert!(decoder.decode(b"nonsense").is_err());
    }

    #[test]
    fn blocks_are_bounded() {
        let bomb = "x".repeat(1 << 20);
        let block = Encoder::new().unwrap().encode(&[("a", &bomb)]).unwrap();
        assert!(Decoder::default().decode(&block).is_err());
        assert!(parse(&[0xff, 0xff, 0xff, 0xff]).is_err());
    }
}
