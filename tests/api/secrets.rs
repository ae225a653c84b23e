//! What a secret holds is told to those who read it, and to nobody else.
use crate::support::{Api, builder, remote};
use homeostat::apiserver::{AuthorizationMode, StaticTokens, Write, WriteObserver};
use serde_json::{Value, json};
use std::io;
use std::sync::{Arc, Mutex};

const SECRETS: &str = "/api/v1/namespaces/default/secrets";
/// What is not to be seen, and its base64.
const HIDDEN: [&str; 2] = ["hidden-from-all", "aGlkZGVuLWZyb20tYWxs"];

/// Text that parts of the server write into.
#[derive(Clone, Debug, Default)]
struct Text(Arc<Mutex<Vec<u8>>>);

impl Text {
    fn add(&self, text: &str) {
        self.0.lock().unwrap().extend(text.as_bytes());
    }
    #[track_caller]
    fn hides(&self, what: &str) {
        let text = String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned();
        assert!(!text.is_empty(), "{what} say nothing at all");
        for hidden in HIDDEN {
            let before = text.split_once(hidden).map(|(before, _)| before);
            let tail = before.map(|it| it.chars().rev().take(200).collect::<Vec<_>>());
            let tail = tail.map(|it| it.into_iter().rev().collect::<String>());
            assert_eq!(tail, None, "{what} show a secret after this");
        }
    }
}

impl io::Write for Text {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.add(&String::from_utf8_lossy(bytes));
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl WriteObserver for Text {
    fn wrote(&self, write: &Write<'_>) {
        self.add(&format!("{write:?}\n"));
    }
}

#[tokio::test(start_paused = true)]
async fn secrets_are_in_no_log_and_no_error() {
    let (logs, writes, errors) = (Text::default(), Text::default(), Text::default());
    let writer = logs.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let tokens = StaticTokens::from_csv("low,low,low").unwrap();
    let observed = builder().tokens(tokens).observer(Arc::new(writes.clone()));
    let api = Api::start(observed.authorization([AuthorizationMode::Rbac])).await;

    let secret = |name: &str, more: Value| {
        let mut secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": {"key": HIDDEN[1]},
        });
        for (field, value) in more.as_object().unwrap() {
            secret[field] = value.clone();
        }
        secret
    };
    let fixed = secret("fixed", json!({"immutable": true}));
    api.post(SECRETS, &fixed).await.expect(201);
    let plain = secret("plain", json!({"stringData": {"more": HIDDEN[0]}}));
    let made = api.post(SECRETS, &plain).await.expect(201);
    assert_eq!(made["data"], json!({"key": HIDDEN[1], "more": HIDDEN[1]}));

    let mut changed = fixed.clone();
    changed["data"]["other"] = json!(HIDDEN[1]);
    let mut stale = made.clone();
    stale["metadata"]["resourceVersion"] = json!("1");
    let (fixed_path, plain_path) = (format!("{SECRETS}/fixed"), format!("{SECRETS}/plain"));
    let docker = json!({"type": "kubernetes.io/dockercfg", "data": {".dockercfg": HIDDEN[1]}});
    let not_base64 = json!({"data": {"key": format!("!{}", HIDDEN[0])}});
    let bad_key = json!({"data": {"a b": HIDDEN[1]}});
    let apply = format!(
        "PATCH {plain_path}?fieldManager=other\nContent-Type: application/apply-patch+yaml"
    );
    let test = json!([{"op": "test", "path": "/data/key", "value": "eA=="}]);
    for (answer, code) in [
        (api.post(SECRETS, &plain).await, 409),
        (api.put(&fixed_path, &changed).await, 422),
        (api.put(&plain_path, &stale).await, 409),
        (api.post(SECRETS, &secret("docker", docker)).await, 422),
        (api.post(SECRETS, &secret("text", not_base64)).await, 400),
        (api.post(SECRETS, &secret("key", bad_key)).await, 422),
        (api.patch(&plain_path, "json", &test).await, 422),
        (
            api.raw(
                &apply,
                secret("plain", json!({"data": {"key": "eA=="}})).to_string(),
            )
            .await,
            409,
        ),
        (
            remote(&api, "low", &format!("POST {SECRETS}"), &plain).await,
            403,
        ),
        (
            remote(&api, "low", &format!("GET {plain_path}"), &Value::Null).await,
            403,
        ),
        (remote(&api, HIDDEN[0], "GET /api", &Value::Null).await, 401),
    ] {
        assert_eq!(answer.code, code, "{}", answer.text);
        errors.add(&format!("{}\n", answer.text));
        for warning in answer.warnings() {
            errors.add(warning);
        }
    }
    api.delete(&plain_path).await.expect(200);
    errors.hides("the errors");
    writes.hides("the writes");
    logs.add(&format!("{:?}", api.server));
    logs.hides("the logs");
}
