//! Query strings and paths, percent-decoded as Go decodes them.
use super::Query;

impl Query {
    /// Parses a query string. What cannot be decoded is left out, as Go's `url.ParseQuery` does.
    pub(crate) fn parse(text: &str) -> Self {
        let pairs = text
            .split('&')
            .filter(|pair| !pair.is_empty() && !pair.contains(';'));
        Self(
            pairs
                .filter_map(|pair| {
                    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                    Some((decode(key, true)?, decode(value, true)?))
                })
                .collect(),
        )
    }
    /// The first value of `name`, `""` when absent.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.get(name).unwrap_or_default()
    }
    /// The first value of `name` as a boolean, the way the real server reads it: anything but `false` and `0` is true.
    pub(crate) fn flag(&self, name: &str) -> Option<bool> {
        self.get(name)
            .map(|value| !(value.eq_ignore_ascii_case("false") || value == "0"))
    }
}

/// Percent-decodes; `None` for a broken escape. Bytes that are no UTF-8 become replacement characters.
pub(crate) fn decode(text: &str, plus_is_space: bool) -> Option<String> {
    if !text.bytes().any(|byte| byte == b'%' || byte == b'+') {
        return Some(text.to_owned());
    }
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => {
                let high = char::from(bytes.next()?).to_digit(16)?;
                let low = char::from(bytes.next()?).to_digit(16)?;
                u8::try_from(high * 16 + low).ok()?
            }
            b'+' if plus_is_space => b' ',
            other => other,
        });
    }
    Some(match String::from_utf8(out) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_decoded_as_go_does() {
        let cases: [(&str, &[(&str, &str)]); 6] = [
            ("", &[]),
            (
                "a=1&b=&c&a=2",
                &[("a", "1"), ("b", ""), ("c", ""), ("a", "2")],
            ),
            (
                "labelSelector=a%3Db%2Cc+in+%28d%29",
                &[("labelSelector", "a=b,c in (d)")],
            ),
            ("a=%zz&b=1", &[("b", "1")]),
            ("a=1;b=2&c=3", &[("c", "3")]),
            ("a=%ff", &[("a", "\u{fffd}")]),
        ];
        for (text, expected) in cases {
            let found = Query::parse(text);
            let found: Vec<_> = found
                .0
                .iter()
                .map(|(k, v)| (k.as_str(), v.as_str()))
                .collect();
            assert_eq!(found, expected, "{text}");
        }
    }
}
