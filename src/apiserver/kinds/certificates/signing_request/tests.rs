//! The rules, one line each.
use super::*;
use crate::pki::request::tests::REQUEST;

fn context(subresource: Option<&str>) -> Context<'_> {
    Context {
        now: "2026-01-01T00:00:00Z",
        subresource,
        user: "u",
    }
}

fn valid() -> Value {
    json!({
        "spec": { "request": base64::encode(REQUEST.as_bytes()), "signerName": "example.com/s", "usages": ["client auth"] },
        "status": {},
    })
}

fn with(path: &[&str], value: Value) -> Value {
    let mut object = valid();
    object.set_at(path, value);
    object
}

fn condition(type_: &str) -> Value {
    json!({ "type": type_, "status": "True" })
}

fn texts(errors: &Errors) -> Vec<String> {
    errors.0.iter().map(ToString::to_string).collect()
}

#[test]
fn requests_are_checked() {
    let certificate = |text: &str| {
        with(
            &["status", "certificate"],
            base64::encode(text.as_bytes()).into(),
        )
    };
    let bad = "status.certificate: Invalid value: \"<certificate data>\": ";
    for (object, expected) in [
        (valid(), vec![]),
        (with(&["spec", "usages"], json!([])), vec!["spec.usages: Required value".to_owned()]),
        (
            with(&["spec", "usages"], json!(["signing", "signing"])),
            vec!["spec.usages[1]: Duplicate value: \"signing\"".to_owned()],
        ),
        (
            with(&["spec", "usages"], json!(["foo"])),
            vec!["spec.usages[0]: Unsupported value: \"foo\": supported values: \"any\", \"cert sign\", \"client auth\", \"code signing\",".to_owned()],
        ),
        (
            with(&["spec", "signerName"], json!(LEGACY_SIGNER)),
            vec!["spec.signerName: Invalid value: \"kubernetes.io/legacy-unknown\": the legacy signerName is not allowed via this".to_owned()],
        ),
        (
            with(&["spec", "expirationSeconds"], json!(599)),
            vec!["spec.expirationSeconds: Invalid value: 599: may not specify a duration less than 600 seconds (10 minutes)".to_owned()],
        ),
        (
            with(&["spec", "request"], json!(null)),
            vec!["spec.request: Invalid value: null: PEM block type must be CERTIFICATE REQUEST".to_owned()],
        ),
        (
            with(&["spec", "request"], json!("")),
            vec!["spec.request: Invalid value: \"\": PEM block type must be CERTIFICATE REQUEST".to_owned()],
        ),
        (
            with(&["status", "conditions"], json!([condition(APPROVED), condition(DENIED), condition(APPROVED)])),
            vec![
                "status.conditions[1].type: Invalid value: \"Denied\": Approved and Denied conditions are mutually exclusive".to_owned(),
                "status.conditions[2].type: Invalid value: \"Approved\": Approved and Denied conditions are mutually exclusive".to_owned(),
                "status.conditions[2].type: Duplicate value: \"Approved\"".to_owned(),
            ],
        ),
        (
            with(&["status", "conditions"], json!([{}, { "type": "Failed", "status": "False" }, { "type": "Own", "status": "No" }])),
            vec![
                "status.conditions[0].type: Required value".to_owned(),
                "status.conditions[0].status: Required value".to_owned(),
                "status.conditions[1].status: Unsupported value: \"False\": supported values: \"True\"".to_owned(),
                "status.conditions[2].status: Unsupported value: \"No\": supported values: \"False\", \"True\", \"Unknown\"".to_owned(),
            ],
        ),
        (certificate("a"), vec![format!("{bad}must contain at least one CERTIFICATE PEM block")]),
        (
            certificate(REQUEST),
            vec![format!("{bad}only CERTIFICATE PEM blocks are allowed, found \"CERTIFI")],
        ),
    ] {
        let mut errors = Errors::new();
        SigningRequest.validate(&context(None), &object, &mut errors);
        let found = texts(&errors);
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (found, expected) in found.iter().zip(&expected) {
            assert!(found.starts_with(expected), "{found} {expected}");
        }
    }
}

#[test]
fn the_user_is_written_and_nothing_else_is_taken() {
    let mut object = valid();
    object.set_at(&["spec", "username"], "forged");
    object.set_at(&["spec", "extra"], json!({ "a": ["b"] }));
    object.set_at(&["status", "conditions"], json!([condition(APPROVED)]));
    let user = UserInfo {
        name: "u".into(),
        groups: vec!["g".into()],
        ..UserInfo::default()
    };
    SigningRequest.set_requester(&mut object, &user);
    SigningRequest.prepare_create(&context(None), &mut object);
    assert_eq!(object["spec"]["username"], "u");
    assert_eq!(object["spec"]["groups"], json!(["g"]));
    assert_eq!(
        (object["spec"].get("uid"), object["spec"].get("extra")),
        (None, None)
    );
    assert_eq!(object["status"], json!({}));
}

#[test]
fn each_way_of_writing_has_its_part() {
    let mut old = valid();
    old["status"] = json!({ "conditions": [{ "type": "Own", "status": "True", "lastTransitionTime": "2020-01-01T00:00:00Z" }] });
    let mut sent = old.clone();
    sent["spec"]["signerName"] = "other.com/s".into();
    sent["status"] =
        json!({ "conditions": [condition("Own"), condition(APPROVED)], "certificate": "YQ==" });
    for (subresource, conditions, certificate) in [
        (None, 1, None),
        (Some("approval"), 2, None),
        (Some("status"), 2, Some("YQ==")),
    ] {
        let mut object = sent.clone();
        SigningRequest.prepare_update(&context(subresource), &mut object, &old);
        assert_eq!(object["spec"], old["spec"]);
        assert_eq!(super::conditions(&object).len(), conditions);
        assert_eq!(
            object["status"].get("certificate").and_then(Value::as_str),
            certificate
        );
        if subresource.is_some() {
            let times: Vec<&str> = super::conditions(&object)
                .iter()
                .map(|condition| condition.str_at(&["lastTransitionTime"]))
                .collect();
            assert_eq!(times, ["2020-01-01T00:00:00Z", "2026-01-01T00:00:00Z"]);
        }
    }
}

#[test]
fn changes_are_checked() {
    let approved = with(&["status", "conditions"], json!([condition(APPROVED)]));
    let mut changed = approved.clone();
    changed["status"]["conditions"][0]["message"] = "m".into();
    let add = "status.conditions: Forbidden: updates may not add a condition of type \"Approved\"";
    let remove =
        "status.conditions: Forbidden: updates may not remove a condition of type \"Approved\"";
    for (subresource, old, new, expected) in [
        (Some("approval"), valid(), approved.clone(), vec![]),
        (Some("approval"), approved.clone(), changed.clone(), vec![]),
        (Some("approval"), approved.clone(), valid(), vec![remove]),
        (Some("status"), valid(), approved.clone(), vec![add]),
        (
            Some("status"),
            approved.clone(),
            changed,
            vec![
                "status.conditions: Forbidden: updates may not modify a condition of type \"Approved\"\n",
            ],
        ),
        (
            Some("status"),
            valid(),
            with(&["status", "conditions"], json!([condition(FAILED)])),
            vec![],
        ),
        (
            Some("status"),
            with(&["status", "certificate"], json!("YQ==")),
            with(&["status", "certificate"], json!("Yg==")),
            vec![
                "status.certificate: Forbidden: updates may not modify existing certificate content",
            ],
        ),
        (
            Some("approval"),
            with(&["status", "certificate"], json!("YQ==")),
            valid(),
            vec!["status.certificate: Forbidden: updates may not set certificate content"],
        ),
    ] {
        let mut errors = Errors::new();
        SigningRequest.validate_update(&context(subresource), &new, &old, &mut errors);
        assert_eq!(texts(&errors), expected, "{new}");
    }
}
