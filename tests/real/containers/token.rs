//! Tokens of service accounts in volumes, and their renewal.

use serde_json::{Value, json};

use super::{Guest, Place, STAYS, shell, with};

/// The shortest life that a token may have.
const SECONDS: u64 = 600;

#[test]
fn tokens_are_renewed_before_they_expire() {
    let guest = Guest::new(Place::shared(), "tokens");
    guest.ok("kubectl create serviceaccount other");
    let mount = json!({"volumeMounts": [{"name": "v", "mountPath": "/v", "readOnly": true}]});
    let token = |path: &str, audience: &str| json!({"serviceAccountToken": {"path": path, "audience": audience, "expirationSeconds": SECONDS}});
    guest.pod(
        "p",
        json!({
            "serviceAccountName": "other",
            "volumes": [{"name": "v", "projected": {"sources": [token("one", "one"), token("two", "two")]}}],
            "containers": [with(shell("c", STAYS), mount)],
        }),
    );
    guest.ready("p");
    let first = guest.inside("p", "cat /v/one");
    assert_ne!(first, guest.inside("p", "cat /v/two"));
    let status = review(&guest, &first, "one");
    assert_eq!(status["authenticated"], true, "{status}");
    let user = &status["user"];
    assert_eq!(user["username"], "system:serviceaccount:tokens:other");
    let pod = &user["extra"]["authentication.kubernetes.io/pod-name"];
    assert_eq!(*pod, json!(["p"]), "{status}");
    // Each is for its own audience.
    let status = review(&guest, &first, "two");
    assert_ne!(status["authenticated"], true, "{status}");
    // When a fifth of its life is left, at the latest a look later.
    let second = guest.within(SECONDS, "the token is renewed", || {
        std::thread::sleep(std::time::Duration::from_secs(2));
        let now = guest.inside("p", "cat /v/one");
        (now != first).then_some(now)
    });
    for token in [&first, &second] {
        let status = review(&guest, token, "one");
        assert_eq!(status["authenticated"], true, "{status}");
    }
    // Without its pod it is no good.
    guest.ok("kubectl delete pod p --timeout=30s");
    let status = review(&guest, &second, "one");
    assert_ne!(status["authenticated"], true, "{status}");
}

/// What the API server says of a token.
fn review(guest: &Guest, token: &str, audience: &str) -> Value {
    let review = json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
        "spec": {"token": token, "audiences": [audience]},
    });
    guest.file("review.json", &review.to_string());
    let answer = guest.ok("kubectl create -f review.json -o json");
    let answer: Value = serde_json::from_str(&answer).unwrap();
    answer["status"].clone()
}
