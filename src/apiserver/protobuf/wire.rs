//! The wire format of protobuf: keys, varints, lengths.

/// The content of a field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Content<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
}

/// Appends bytes of known length.
pub(crate) fn bytes(out: &mut Vec<u8>, number: u32, content: &[u8]) {
    length(out, number, content.len());
    out.extend_from_slice(content);
}

/// Appends what goes before bytes of this length.
pub(crate) fn length(out: &mut Vec<u8>, number: u32, length: usize) {
    key(out, number, 2);
    varint(out, length as u64);
}

/// Appends a number of variable length.
pub(crate) fn integer(out: &mut Vec<u8>, number: u32, value: u64) {
    key(out, number, 0);
    varint(out, value);
}

/// Appends a number of eight bytes.
pub(crate) fn double(out: &mut Vec<u8>, number: u32, value: f64) {
    key(out, number, 1);
    out.extend(value.to_le_bytes());
}

fn key(out: &mut Vec<u8>, number: u32, wire: u32) {
    varint(out, u64::from((number << 3) | wire));
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    loop {
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        if value == 0 {
            return out.push(low & 0x7f);
        }
        out.push(low | 0x80);
    }
}

/// Takes the fields of a message one by one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    /// The next field; `None` at the end.
    ///
    /// # Errors
    /// When the bytes are no message.
    pub(crate) fn field(&mut self) -> Result<Option<(u32, Content<'a>)>, &'static str> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let number = u32::try_from(key >> 3).map_err(|_| "illegal tag")?;
        if number == 0 {
            return Err("illegal tag 0");
        }
        let content = match key & 7 {
            0 => Content::Varint(self.varint()?),
            1 => Content::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| EOF)?;
                Content::Bytes(self.take(length)?)
            }
            5 => Content::Fixed32(u32::from_le_bytes(self.array()?)),
            _ => return Err("illegal wireType"),
        };
        Ok(Some((number, content)))
    }
    /// A number of variable length.
    pub(crate) fn varint(&mut self) -> Result<u64, &'static str> {
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            let [byte] = self.array()?;
            value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err("integer overflow")
    }
    fn take(&mut self, length: usize) -> Result<&'a [u8], &'static str> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(EOF)?;
        self.0 = rest;
        Ok(taken)
    }
    fn array<const N: usize>(&mut self) -> Result<[u8; N], &'static str> {
        self.take(N)?.try_into().map_err(|_| EOF)
    }
}

const EOF: &str = "unexpected EOF";
