//! What a status may say, and who owns it.
use super::*;

#[test]
fn statuses() {
    let sub = Some("status");
    let from = json!({"spec": {"restartPolicy": "Never"}, "status": {
        "qosClass": "BestEffort", "containerStatuses": [{"name": "c", "state": {"terminated": {"exitCode": 1}}}],
    }});
    for (status, expected) in [
        (
            json!({"podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]}),
            vec![],
        ),
        (
            json!({"podIPs": [{"ip": "bad"}]}),
            vec!["status.podIPs[0]: Invalid value: \"bad\": must be a valid IP address"],
        ),
        (
            json!({"podIPs": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.1"}]}),
            vec![
                "status.podIPs: Invalid value: [{\"IP\":\"10.0.0.1\"},{\"IP\":\"10.0.0.1\"}]: may specify no more than one IP for each IP family",
            ],
        ),
        (
            json!({"podIPs": [{"ip": "10.0.0.1"}, {"ip": "bad"}]}),
            vec![
                "status.podIPs[1]: Invalid value: \"bad\": must be a valid IP address",
                "status.podIPs: Internal error: failed to check for dual stack with error:invalid IP[1]: bad",
                "status.podIPs: Invalid value",
            ],
        ),
        (
            json!({"hostIPs": [{"ip": "10.0.0.1"}]}),
            vec!["status.hostIPs[0].ip: Invalid value: \"10.0.0.1\": must be equal to `hostIP`"],
        ),
        (
            json!({"qosClass": "Burstable"}),
            vec!["status.qosClass: Invalid value: \"Burstable\": field is immutable"],
        ),
        (json!({"qosClass": null}), vec![]),
        (
            json!({"containerStatuses": [{"name": "c", "state": {"running": {}}}]}),
            vec![
                "status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state",
            ],
        ),
        (
            json!({"conditions": [{"type": "a b", "status": "True"}]}),
            vec!["status.conditions[0].Type: Invalid value: \"a b\""],
        ),
        (
            json!({"observedGeneration": -1, "conditions": [{"type": "Ready", "status": "True", "observedGeneration": -1}]}),
            vec![
                "status.conditions[0].observedGeneration: Invalid value: -1: must be a non-negative integer",
                "status.observedGeneration: Invalid value: -1: must be a non-negative integer",
            ],
        ),
        (
            json!({"nominatedNodeName": "A"}),
            vec!["status.nominatedNodeName: Invalid value: \"A\""],
        ),
        (
            json!({"resourceClaimStatuses": [{"name": "z"}]}),
            vec![
                "status.resourceClaimStatuses[0].name: Invalid value: \"z\": must match the name of an entry in `spec.resourceClaims`",
            ],
        ),
    ] {
        change(sub, &from, &json!({"status": status}), &expected);
    }
    // The first of all addresses is told twice.
    let pod = pod(&json!({"status": {"podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.2"}]}}));
    assert_eq!(pod["status"]["podIPs"], json!([{"ip": "10.0.0.1"}]));
}

#[test]
fn writers_of_the_spec_and_of_the_status_keep_out_of_each_others_way() {
    let mut new =
        pod(&json!({"status": {"phase": "Running"}, "spec": {"schedulingGates": [{"name": "g"}]}}));
    Pod::PLAIN.prepare_create(&context(None), &mut new);
    assert_eq!(new["status"]["phase"], "Pending");
    assert_eq!(new["status"]["conditions"][0]["reason"], "SchedulingGated");
    let mut old = new.clone();
    old["status"]["observedGeneration"] = 3.into();
    new["status"]["phase"] = "Failed".into();
    Pod::PLAIN.prepare_update(&context(None), &mut new, &old);
    assert_eq!(new["status"], old["status"]);
    let mut status = json!({"spec": old["spec"], "status": {"phase": "Running"}});
    Pod::PLAIN.prepare_update(&context(Some("status")), &mut status, &old);
    assert_eq!(
        status["status"],
        json!({"phase": "Running", "qosClass": "BestEffort", "observedGeneration": 3})
    );
}
