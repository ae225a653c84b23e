//! From HTTP to SPDY.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::cri::{Error, Result};

/// How long connecting and upgrading may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// The longest answer that is read: its head, and the text of an error.
const LONGEST: u64 = 16 << 10;

/// Connects to the streaming server's `url` and asks for SPDY and `protocol`.
///
/// # Errors
/// [`Error::Unavailable`] when nobody answers, [`Error::Stream`] when the answer is another one than that.
pub(crate) async fn upgrade(url: &str, protocol: &str) -> Result<BufReader<TcpStream>> {
    let Some((host, path)) = parse(url) else {
        let why = format!("the runtime's streaming server is at {url:?}, not at a plain http URL");
        return Err(Error::Incompatible(why));
    };
    let failed = |why: io::Error| Error::Unavailable(format!("streaming server {host}: {why}"));
    let upgraded = timeout(PATIENCE, async {
        let connection = TcpStream::connect(host).await.map_err(failed)?;
        // Keys of a terminal are sent one by one.
        connection.set_nodelay(true).map_err(failed)?;
        let mut connection = BufReader::new(connection);
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\
             X-Stream-Protocol-Version: {protocol}\r\nContent-Length: 0\r\n\r\n"
        );
        connection
            .write_all(request.as_bytes())
            .await
            .map_err(failed)?;
        answer(&mut connection, protocol).await.map_err(failed)??;
        Ok(connection)
    });
    upgraded.await.unwrap_or_else(|_| {
        let why = format!("streaming server {host}: no answer within {PATIENCE:?}");
        Err(Error::Unavailable(why))
    })
}

/// Host with port, and path with query, of a plain URL.
fn parse(url: &str) -> Option<(&str, &str)> {
    let rest = url.strip_prefix("http://")?;
    let slash = rest.find('/')?;
    let (host, path) = rest.split_at(slash);
    let safe = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    (safe(host) && safe(path)).then_some((host, path))
}

/// Reads the answer's head; the error's text, when it is one.
async fn answer(connection: &mut BufReader<TcpStream>, protocol: &str) -> io::Result<Result<()>> {
    let (mut status, mut length, mut agreed) = (String::new(), None, None);
    let mut left = LONGEST;
    loop {
        let mut line = String::new();
        let mut limited = (&mut *connection).take(left);
        let read = limited.read_line(&mut line).await?;
        left = left.saturating_sub(read as u64);
        if read == 0 || left == 0 {
            return Err(io::Error::other("the answer is broken off or too long"));
        }
        let line = line.trim_end();
        if status.is_empty() {
            line.clone_into(&mut status);
        } else if line.is_empty() {
            break;
        } else if let Some((name, value)) = line.split_once(':') {
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse::<u64>().ok(),
                "x-stream-protocol-version" => agreed = Some(value.trim().to_owned()),
                _ => {}
            }
        }
    }
    let code = status.split(' ').nth(1).unwrap_or_default();
    if code == "101" {
        return Ok(match agreed.as_deref() {
            Some(agreed) if agreed != protocol => Err(Error::Incompatible(format!(
                "the runtime's streaming server speaks {agreed:?}, not {protocol:?}"
            ))),
            _ => Ok(()),
        });
    }
    let mut text = Vec::new();
    let length = length.unwrap_or(0).min(LONGEST);
    connection.take(length).read_to_end(&mut text).await?;
    let text = String::from_utf8_lossy(&text);
    let why = format!(
        "the runtime's streaming server answered {code}: {}",
        text.trim()
    );
    Ok(Err(Error::Stream(why)))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn urls() {
        for (url, parsed) in [
            (
                "http://127.0.0.1:4/exec/a?b=c",
                Some(("127.0.0.1:4", "/exec/a?b=c")),
            ),
            ("http://[::1]:4/exec/a", Some(("[::1]:4", "/exec/a"))),
            ("https://127.0.0.1:4/exec/a", None),
            ("http://127.0.0.1:4", None),
            ("/exec/a", None),
            ("http://a/b\r\nX: y", None),
        ] {
            assert_eq!(parse(url), parsed, "{url}");
        }
    }
}
