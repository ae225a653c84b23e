//! The audit log: which requests are told of, and what of them.
use crate::support::{Api, builder, map, remote};
use homeostat::apiserver::{AuditPolicy, AuditSink, AuthorizationMode, StaticTokens};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};

#[derive(Debug, Default)]
struct Kept(Mutex<Vec<Value>>);

impl AuditSink for Kept {
    fn record(&self, event: &Value) {
        self.0.lock().unwrap().push(event.clone());
    }
}

impl Kept {
    fn take(&self) -> Vec<Value> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

async fn audited(rules: &str) -> (Api, Arc<Kept>) {
    let policy = format!("{{apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{rules}]}}");
    let kept = Arc::new(Kept::default());
    let tokens = StaticTokens::from_csv("root,admin,1,system:masters\nlow,low,2,lowgroup\n");
    let builder = builder()
        .tokens(tokens.unwrap())
        .authorization([AuthorizationMode::Rbac])
        .audit(kept.clone(), AuditPolicy::parse(&policy).unwrap());
    (Api::start(builder).await, kept)
}

const SECRETS: &str = "/api/v1/namespaces/default/secrets";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn stages(events: &[Value]) -> Vec<&str> {
    let stage = |event: &Value| event["stage"].as_str().is_some();
    assert!(events.iter().all(stage));
    events
        .iter()
        .filter_map(|event| event["stage"].as_str())
        .collect()
}

#[tokio::test(start_paused = true)]
async fn metadata_says_who_did_what_and_shows_no_object() {
    let (api, kept) = audited("{level: Metadata}").await;
    let secret = json!({ "metadata": { "name": "s" }, "stringData": { "key": "hidden" } });
    let line = format!("POST {SECRETS}?fieldManager=m\nUser-Agent: test/1\nAudit-ID: 7");
    remote(&api, "root", &line, &secret).await.expect(201);
    remote(&api, "root", &format!("GET {SECRETS}/s"), &Value::Null)
        .await
        .expect(200);
    let events = kept.take();
    assert_eq!(
        stages(&events),
        [
            "RequestReceived",
            "ResponseComplete",
            "RequestReceived",
            "ResponseComplete"
        ]
    );
    let text = serde_json::to_string(&events).unwrap();
    assert!(
        !text.contains("hidden") && !text.contains("aGlkZGVu") && !text.contains("Object\":"),
        "{text}"
    );
    let made = &events[1];
    assert_eq!(
        (
            &made["level"],
            &made["verb"],
            &made["auditID"],
            &made["userAgent"]
        ),
        (
            &json!("Metadata"),
            &json!("create"),
            &json!("7"),
            &json!("test/1")
        )
    );
    assert_eq!(made["user"]["username"], "admin");
    assert_eq!(made["sourceIPs"], json!(["192.0.2.1"]));
    assert_eq!(
        made["objectRef"],
        json!({ "resource": "secrets", "namespace": "default", "name": "s", "apiVersion": "v1" })
    );
    assert_eq!(made["responseStatus"]["code"], 201);
    assert_eq!(
        made["annotations"]["authorization.k8s.io/decision"],
        "allow"
    );
    assert!(made["stageTimestamp"].as_str() >= made["requestReceivedTimestamp"].as_str());
}

#[tokio::test(start_paused = true)]
async fn objects_are_shown_where_the_policy_wants_them() {
    let rules = "{level: None, nonResourceURLs: ['/healthz*']}, {level: Request, verbs: [create, patch]}, {level: RequestResponse, omitManagedFields: true, omitStages: [RequestReceived]}";
    let (api, kept) = audited(rules).await;
    remote(&api, "root", "GET /healthz", &Value::Null).await;
    assert!(kept.take().is_empty());
    remote(&api, "root", &format!("POST {MAPS}"), &map("m"))
        .await
        .expect(201);
    let events = kept.take();
    assert_eq!(events[1]["requestObject"]["metadata"]["name"], "m");
    assert_eq!(events[1].get("responseObject"), None);
    // Whatever format the client gets it in.
    for format in ["json", "yaml", "vnd.kubernetes.protobuf"] {
        let format = format!("application/{format}");
        let line = format!("GET {MAPS}\nAccept: {format}");
        let answer = remote(&api, "root", &line, &Value::Null).await;
        let given = answer.headers["content-type"].to_str().unwrap();
        assert_eq!((answer.code, given), (200, &*format));
        let events = kept.take();
        assert_eq!(stages(&events), ["ResponseComplete"]);
        let shown = &events[0]["responseObject"]["items"][0]["metadata"];
        assert_eq!(
            (&shown["name"], shown.get("managedFields")),
            (&json!("m"), None)
        );
    }
    let watch = format!("GET {MAPS}?watch=true&timeoutSeconds=2");
    remote(&api, "root", &watch, &Value::Null).await;
    let events = kept.take();
    assert_eq!(stages(&events), ["ResponseStarted", "ResponseComplete"]);
    assert_eq!(
        (&events[0]["verb"], events[1].get("responseObject")),
        (&json!("watch"), None)
    );
}

#[tokio::test(start_paused = true)]
async fn refusals_and_disguises_are_told() {
    let (api, kept) = audited("{level: Metadata, omitStages: [RequestReceived]}").await;
    remote(&api, "low", &format!("GET {MAPS}"), &Value::Null)
        .await
        .fails(403, "Forbidden");
    remote(&api, "nobody", &format!("GET {MAPS}"), &Value::Null)
        .await
        .fails(401, "Unauthorized");
    let line = format!("GET {MAPS}\nImpersonate-User: low");
    remote(&api, "root", &line, &Value::Null)
        .await
        .fails(403, "Forbidden");
    let events = kept.take();
    let [refused, unknown, disguised] = &events[..] else {
        panic!("{events:?}");
    };
    assert_eq!(
        refused["annotations"]["authorization.k8s.io/decision"],
        "forbid"
    );
    assert_eq!(refused["responseStatus"]["reason"], "Forbidden");
    assert_eq!(
        (&unknown["responseStatus"]["code"], &unknown["user"]),
        (&json!(401), &json!({}))
    );
    assert_eq!(disguised["user"]["username"], "admin");
    assert_eq!(disguised["impersonatedUser"]["username"], "low");
}
