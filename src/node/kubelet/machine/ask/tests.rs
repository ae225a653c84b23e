//! Questions to servers of this machine.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

const SECOND: Duration = Duration::from_secs(5);

/// Answers one request after another with what `answer` makes of it.
async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    answer: impl Fn(&str) -> Option<String>,
) {
    let mut head = vec![0; 4096];
    let read = stream.read(&mut head).await.unwrap_or(0);
    let head = String::from_utf8_lossy(&head[..read]).into_owned();
    match answer(&head) {
        Some(answer) => {
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
        None => tokio::time::sleep(SECOND * 10).await,
    }
}

fn answer(head: &str) -> Option<String> {
    let path = head.split(' ').nth(1).unwrap_or_default();
    let (line, location) = match path {
        "/bad" => ("500 No", ""),
        "/slow" => return None,
        "/moved" => ("302 Found", "/"),
        "/near/moved" => ("301 Moved", "good?x=1"),
        "/away" => ("302 Found", "http://elsewhere.example/"),
        "/loop" => ("307 Again", "/loop"),
        "/unchanged" => ("304 Not Modified", ""),
        "/headers" if head.contains("host: named\r\n") && head.contains("x-a: 1\r\n") => {
            ("200 OK", "")
        }
        "/agent" if !head.contains("user-agent") => ("200 OK", ""),
        "/" | "/near/good?x=1" => ("200 OK", ""),
        _ => ("404 Not Found", ""),
    };
    Some(format!(
        "HTTP/1.1 {line}\r\ncontent-length: 2\r\nlocation: {location}\r\n\r\nhi"
    ))
}

fn http_check(scheme: &str, port: u16, path: &str, headers: &[(&str, &str)]) -> Check {
    let headers = headers.iter();
    Check::Http {
        scheme: scheme.into(),
        host: String::new(),
        port,
        path: path.into(),
        headers: headers
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
    }
}

#[tokio::test]
async fn answers_over_http() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, answer));
        }
    });
    let warning = |body: &str| {
        let text = format!("Probe terminated redirects, Response body: {body}");
        Ok(Answer::Warning(text))
    };
    let unwell = |status: u16| {
        let text = format!("HTTP probe failed with statuscode: {status}");
        Ok(Answer::Unwell(text))
    };
    let url = format!("http://127.0.0.1:{port}");
    for (path, headers, expected) in [
        ("/", &[][..], Ok(Answer::Well)),
        ("", &[], Ok(Answer::Well)),
        ("/bad", &[], unwell(500)),
        ("/moved", &[], Ok(Answer::Well)),
        ("/near/moved", &[], Ok(Answer::Well)),
        ("/away", &[], warning("hi")),
        ("/unchanged", &[], warning("")),
        (
            "/loop",
            &[],
            Err(format!("Get \"{url}/loop\": stopped after 10 redirects")),
        ),
        (
            "/headers",
            &[("Host", "named"), ("X-A", "1")],
            Ok(Answer::Well),
        ),
        ("/headers", &[], unwell(404)),
        ("/agent", &[("User-Agent", "")], Ok(Answer::Well)),
        ("/agent", &[], unwell(404)),
    ] {
        let said = ask(
            "127.0.0.1",
            &http_check("http", port, path, headers),
            SECOND,
        )
        .await;
        assert_eq!(said, expected, "{path}");
    }
    let short = Duration::from_millis(50);
    let said = ask("127.0.0.1", &http_check("http", port, "/slow", &[]), short).await;
    let late = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)";
    assert_eq!(said, Err(format!("Get \"{url}/slow\": {late}")));
    server.abort();
    let _ = server.await;
    let refused = format!("dial tcp 127.0.0.1:{port}: connect: connection refused");
    let said = ask("127.0.0.1", &http_check("http", port, "/", &[]), SECOND).await;
    assert_eq!(said, Err(format!("Get \"{url}/\": {refused}")));
    let tcp = Check::Tcp {
        host: "127.0.0.1".into(),
        port,
    };
    assert_eq!(ask("192.0.2.1", &tcp, SECOND).await, Err(refused));
}

#[cfg(feature = "serve")]
#[tokio::test]
async fn any_certificate_is_good() {
    let made = rcgen::generate_simple_self_signed(vec!["elsewhere".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if let Ok(stream) = acceptor.accept(stream).await {
                serve(stream, answer).await;
            }
        }
    });
    for (path, expected) in [
        ("/", Answer::Well),
        (
            "/bad",
            Answer::Unwell("HTTP probe failed with statuscode: 500".to_owned()),
        ),
    ] {
        let said = ask("127.0.0.1", &http_check("https", port, path, &[]), SECOND).await;
        assert_eq!(said, Ok(expected), "{path}");
    }
    server.abort();
}

/// A gRPC server that answers as its service is named: `1` is serving.
#[cfg(feature = "serve")]
async fn health_server(listener: TcpListener) {
    use http_body_util::{BodyExt, StreamBody, combinators::BoxBody};
    use hyper::body::{Frame, Incoming};
    let answer = |request: http::Request<Incoming>| async move {
        let known = request.uri().path() == HEALTH;
        let body = request.into_body().collect().await.unwrap().to_bytes();
        // After the frame's head, a tag and a length: the name.
        let status = body.get(7).map_or(1, |name| name - b'0');
        if status == 9 {
            tokio::time::sleep(SECOND * 10).await;
        }
        let code = match (known, status) {
            (false, _) => "12",
            (_, 5) => "5",
            _ => "0",
        };
        let mut trailers = http::HeaderMap::new();
        trailers.insert("grpc-status", code.parse().unwrap());
        trailers.insert("grpc-message", "why".parse().unwrap());
        let data = Bytes::from(vec![0, 0, 0, 0, 2, 8, status]);
        let frames = [
            Ok::<_, std::convert::Infallible>(Frame::data(data)),
            Ok(Frame::trailers(trailers)),
        ];
        let frames = frames.into_iter().skip(usize::from(code != "0"));
        let body: BoxBody<Bytes, std::convert::Infallible> =
            BoxBody::new(StreamBody::new(futures::stream::iter(frames)));
        http::Response::builder()
            .header("content-type", "application/grpc")
            .body(body)
    };
    while let Ok((stream, _)) = listener.accept().await {
        let service = hyper::service::service_fn(answer);
        let executor = hyper_util::rt::TokioExecutor::new();
        let connection = hyper::server::conn::http2::Builder::new(executor)
            .serve_connection(TokioIo::new(stream), service);
        tokio::spawn(connection);
    }
}

#[cfg(feature = "serve")]
#[tokio::test]
async fn answers_over_grpc() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(health_server(listener));
    for (service, limit, expected) in [
        ("", SECOND, Ok(Answer::Well)),
        ("1", SECOND, Ok(Answer::Well)),
        (
            "2",
            SECOND,
            Ok(Answer::Unwell(
                "service unhealthy (responded with \"NOT_SERVING\")".to_owned(),
            )),
        ),
        (
            "5",
            SECOND,
            Err("error: health rpc probe failed: rpc error: code = NotFound desc = why".to_owned()),
        ),
        (
            "9",
            Duration::from_millis(100),
            Err("timeout: health rpc did not complete within 100ms".to_owned()),
        ),
    ] {
        let check = Check::Grpc {
            port,
            service: service.into(),
        };
        assert_eq!(ask("127.0.0.1", &check, limit).await, expected, "{service}");
    }
    server.abort();
    let _ = server.await;
    let check = Check::Grpc {
        port,
        service: String::new(),
    };
    let said = ask("127.0.0.1", &check, SECOND).await.unwrap_err();
    let start = format!("error: failed to connect service at \"127.0.0.1:{port}\": ");
    assert!(said.starts_with(&start), "{said}");
}
