//! A streaming server by hand: what it is sent, and what becomes of what it sends.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::frame::{self, HEAD};
use super::{Stream, Wanted, open, send, upgrade};
use crate::cri::Error;

/// Answers one request with `head`; gives the connection and the request.
async fn serve(listener: &TcpListener, head: &str) -> (TcpStream, String) {
    let (mut peer, _) = listener.accept().await.unwrap();
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(peer.read_u8().await.unwrap());
    }
    peer.write_all(head.as_bytes()).await.unwrap();
    (peer, String::from_utf8(request).unwrap())
}

/// The next frame: its first four bytes, flags and body.
async fn next(peer: &mut TcpStream) -> (u32, u8, Vec<u8>) {
    let mut head = [0; HEAD];
    peer.read_exact(&mut head).await.unwrap();
    let length = u32::from_be_bytes([0, head[5], head[6], head[7]]) as usize;
    let mut body = vec![0; length];
    peer.read_exact(&mut body).await.unwrap();
    let first = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
    (first, head[4], body)
}

fn control(type_: u8, body: &[u8]) -> Vec<u8> {
    let length = u8::try_from(body.len()).unwrap();
    [&[0x80, 3, 0, type_, 0, 0, 0, length], body].concat()
}

/// A connection with two streams, `down` (1) and `up` (3), which the other side has taken; and that other side.
async fn pair(before_replies: &[u8]) -> (TcpStream, Stream, Stream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let wanted = |name: &str, sends| Wanted {
        headers: vec![("streamtype", name.to_owned())],
        sends,
    };
    let server = async {
        let head = "HTTP/1.1 101 Switching Protocols\r\nX-Stream-Protocol-Version: p\r\n\r\n";
        let (mut peer, request) = serve(&listener, head).await;
        assert!(
            request.starts_with("POST /exec/token HTTP/1.1\r\n"),
            "{request}"
        );
        assert!(request.contains("Upgrade: SPDY/3.1\r\n"), "{request}");
        for (id, name) in [(1_u32, "down"), (3, "up")] {
            let (first, flags, body) = next(&mut peer).await;
            assert_eq!((first, flags), (0x8003_0001, 0));
            assert_eq!(body[..4], id.to_be_bytes());
            let text = String::from_utf8_lossy(&body).into_owned();
            assert!(text.contains("streamtype") && text.contains(name), "{text}");
        }
        peer.write_all(before_replies).await.unwrap();
        for id in [1_u32, 3] {
            let reply = control(2, &id.to_be_bytes());
            peer.write_all(&reply).await.unwrap();
        }
        peer
    };
    let client = async {
        let connection = upgrade(&format!("http://{address}/exec/token"), "p").await;
        let wanted = [wanted("down", false), wanted("up", true)];
        let streams = open(connection.unwrap(), &wanted).await.unwrap();
        let mut streams = streams.into_iter();
        (streams.next().unwrap(), streams.next().unwrap())
    };
    let (peer, (down, up)) = tokio::join!(server, client);
    (peer, down, up)
}

async fn rest(mut stream: impl tokio::io::AsyncRead + Unpin) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test]
async fn bytes_go_both_ways_and_end() {
    let (mut peer, down, mut up) = pair(&[]).await;
    up.write_all(b"question").await.unwrap();
    let sent = next(&mut peer).await;
    assert_eq!(sent, (3, 0, b"question".to_vec()));
    up.shutdown().await.unwrap();
    assert_eq!(next(&mut peer).await, (3, 1, Vec::new()));
    for frame in [
        frame::data(1, false, b"ans"),
        frame::data(99, false, b"nobody's"),
        frame::data(1, true, b"wer"),
    ] {
        peer.write_all(&frame).await.unwrap();
    }
    assert_eq!(rest(down).await, "answer");
}

#[tokio::test]
async fn frames_that_are_taken_no_more_end_nothing() {
    let (broken, other) = tokio::io::duplex(1);
    drop(other);
    let (queue, waiting) = mpsc::channel(1);
    let sending = tokio::spawn(send(broken, waiting));
    for _ in 0..5 {
        queue.send(frame::data(3, false, b"lost")).await.unwrap();
    }
    drop(queue);
    sending.await.unwrap();
}

#[tokio::test]
async fn pings_are_answered_and_resets_end_a_stream() {
    let (mut peer, down, up) = pair(&[]).await;
    peer.write_all(&control(6, &[0, 0, 0, 2])).await.unwrap();
    let pong = next(&mut peer).await;
    assert_eq!(pong, (0x8003_0006, 0, vec![0, 0, 0, 2]));
    let reset = [1_u32.to_be_bytes(), 5_u32.to_be_bytes()].concat();
    peer.write_all(&frame::data(1, false, b"part"))
        .await
        .unwrap();
    peer.write_all(&control(3, &reset)).await.unwrap();
    assert_eq!(rest(down).await, "part");
    drop(peer);
    assert_eq!(rest(up).await, "");
}

#[tokio::test]
async fn what_comes_before_the_replies_is_kept() {
    let early = [frame::data(1, false, b"ear"), frame::data(1, true, b"ly")].concat();
    let (_peer, down, _up) = pair(&early).await;
    assert_eq!(rest(down).await, "early");
}

#[tokio::test]
async fn dropping_all_ends_the_connection_after_what_was_written() {
    let (mut peer, down, mut up) = pair(&[]).await;
    up.write_all(&vec![7; 100_000]).await.ok();
    drop((down, up));
    let mut received = 0;
    loop {
        let (_, flags, body) = next(&mut peer).await;
        received += body.len();
        if flags == 1 {
            break;
        }
    }
    assert_eq!(received, 100_000);
    assert_eq!(peer.read(&mut [0; 1]).await.unwrap(), 0);
}

#[tokio::test]
async fn refusals_are_told() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/exec/token", listener.local_addr().unwrap());
    for (head, expected) in [
        (
            "HTTP/1.1 404 Not Found\r\nContent-Length: 6\r\n\r\nno one",
            "the runtime's streaming server answered 404: no one",
        ),
        (
            "HTTP/1.1 101 Switching\r\nX-Stream-Protocol-Version: q\r\n\r\n",
            "container runtime is not compatible: the runtime's streaming server speaks \"q\", not \"p\"",
        ),
    ] {
        let (_, answer) = tokio::join!(serve(&listener, head), upgrade(&url, "p"));
        assert_eq!(answer.unwrap_err().to_string(), expected);
    }
    drop(listener);
    let error = upgrade(&url, "p").await.unwrap_err();
    assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
    let error = upgrade("https://127.0.0.1:1/x", "p").await.unwrap_err();
    assert!(matches!(error, Error::Incompatible(_)), "{error:?}");
}
