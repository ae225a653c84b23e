//! URLs as Go's `url.ParseRequestURI` reads them: what has a scheme, or is a path that begins with a slash.
use super::Value;
use super::value::map;
use kube::core::cel::cel::objects::{Key, Opaque};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

/// A URL, its parts as they are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Url {
    scheme: String,
    user: String,
    host: String,
    path: String,
    query: Option<String>,
}

impl Opaque for Url {
    fn runtime_type_name(&self) -> &'static str {
        "kubernetes.URL"
    }
}

impl Url {
    /// # Errors
    /// What is wrong with it, in Go's words.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| Err(format!("parse {text:?}: {why}"));
        if text.is_empty() {
            return wrong("empty url");
        }
        if text.bytes().any(|byte| byte.is_ascii_control()) {
            return wrong("net/url: invalid control character in URL");
        }
        let (scheme, rest) = match scheme(text) {
            Ok(found) => found,
            Err(why) => return wrong(why),
        };
        let (rest, query) = match rest.split_once('?') {
            Some((rest, query)) => (rest, Some(query)),
            None => (rest, None),
        };
        let query = query.map(str::to_owned);
        if !rest.starts_with('/') {
            if scheme.is_empty() {
                return wrong("invalid URI for request");
            }
            // What follows the scheme without a slash says nothing.
            return Ok(Self {
                scheme: scheme.to_ascii_lowercase(),
                user: String::new(),
                host: String::new(),
                path: String::new(),
                query,
            });
        }
        let (authority, path) = match rest.strip_prefix("//").filter(|_| !scheme.is_empty()) {
            Some(rest) => rest.split_at(rest.find('/').unwrap_or(rest.len())),
            None => ("", rest),
        };
        let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
        if let Err(why) = check_host(host) {
            return wrong(&why);
        }
        if let Some(escape) = bad_escape(path) {
            return wrong(&format!("invalid URL escape {escape:?}"));
        }
        Ok(Self {
            scheme: scheme.to_ascii_lowercase(),
            user: user.to_owned(),
            host: host.to_owned(),
            path: path.to_owned(),
            query,
        })
    }

    /// What a function of URLs gives; `None`: it is none.
    pub(super) fn get(&self, name: &str) -> Option<Value> {
        let (hostname, port) = self.split_host();
        let text = match name {
            "getScheme" => self.scheme.clone(),
            "getHost" => self.host.clone(),
            "getHostname" => hostname.to_owned(),
            "getPort" => port.to_owned(),
            "getEscapedPath" => escaped(&self.path),
            "getQuery" => return Some(self.query()),
            _ => return None,
        };
        Some(Value::String(Arc::new(text)))
    }

    fn split_host(&self) -> (&str, &str) {
        let bracketed = self
            .host
            .strip_prefix('[')
            .and_then(|host| host.split_once(']'));
        match bracketed {
            Some((host, rest)) => (host, rest.trim_start_matches(':')),
            None => self.host.rsplit_once(':').unwrap_or((&self.host, "")),
        }
    }

    fn query(&self) -> Value {
        let mut values: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        let pairs = self.query.as_deref().unwrap_or_default().split('&');
        for pair in pairs.filter(|pair| !pair.is_empty() && !pair.contains(';')) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            if let (Some(key), Some(value)) = (unescaped(key), unescaped(value)) {
                let value = Value::String(Arc::new(value));
                values.entry(key).or_default().push(value);
            }
        }
        map(values
            .into_iter()
            .map(|(key, values)| (Key::String(Arc::new(key)), Value::List(Arc::new(values)))))
    }
}

/// The scheme, if there is one, and what follows it.
fn scheme(text: &str) -> Result<(&str, &str), &'static str> {
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' => {}
            b'0'..=b'9' | b'+' | b'-' | b'.' if index > 0 => {}
            b':' if index == 0 => return Err("missing protocol scheme"),
            b':' => return Ok((&text[..index], &text[index + 1..])),
            _ => break,
        }
    }
    Ok(("", text))
}

fn check_host(host: &str) -> Result<(), String> {
    let port = if host.starts_with('[') {
        let end = host.rfind(']').ok_or("missing ']' in host")?;
        host.get(end + 1..).unwrap_or_default()
    } else {
        host.find(':')
            .and_then(|at| host.get(at..))
            .unwrap_or_default()
    };
    let digits = port.strip_prefix(':').unwrap_or_default();
    let is_port = port.is_empty()
        || (port.starts_with(':') && digits.bytes().all(|byte| byte.is_ascii_digit()));
    if !is_port {
        return Err(format!("invalid port {port:?} after host"));
    }
    match host
        .chars()
        .find(|character| matches!(character, ' ' | '<' | '>' | '"'))
    {
        Some(character) if character == ' ' || !host.starts_with('[') => Err(format!(
            "invalid character {:?} in host name",
            character.to_string()
        )),
        _ => Ok(()),
    }
}

/// A percent sign that is not followed by two digits, with what follows it.
fn bad_escape(text: &str) -> Option<&str> {
    let mut signs = text.match_indices('%').map(|(at, _)| at);
    signs.find_map(|at| {
        let escape = text.as_bytes().get(at + 1..at + 3);
        let is_good = escape.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        let shown = text.get(at..(at + 3).min(text.len()));
        (!is_good).then(|| shown.unwrap_or("%"))
    })
}

/// The path with everything escaped that has to be.
fn escaped(path: &str) -> String {
    let mut text = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~$&+,/:;=@!'()*%[]".contains(&byte) {
            text.push(char::from(byte));
        } else {
            // Writing to a text cannot fail.
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

/// A part of a query as it is meant; `None`: it is broken.
fn unescaped(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            byte => byte,
        });
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}
