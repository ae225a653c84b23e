//! Tables of what jobs and cron jobs fill in, refuse and keep.

use serde_json::{Value, json};

use super::*;
use crate::apiserver::registry::strategy::{Context, Strategy};
use crate::object::field::Errors;

const fn context(subresource: Option<&'static str>) -> Context<'static> {
    Context {
        now: "",
        subresource,
        user: "",
    }
}

fn texts(errors: &Errors) -> Vec<String> {
    errors.0.iter().map(ToString::to_string).collect()
}

fn with(mut object: Value, change: &Value) -> Value {
    for (field, value) in change.as_object().unwrap() {
        object[field.as_str()] = value.clone();
    }
    object
}

fn template() -> Value {
    json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}})
}

/// A job as it is stored.
fn job(change: &Value) -> Value {
    let spec = with(json!({"template": template()}), change);
    let mut object =
        json!({"metadata": {"name": "x", "namespace": "ns", "uid": "1"}, "spec": spec});
    Job.default(&mut object);
    Job.prepare_create(&context(None), &mut object);
    object
}

#[test]
fn what_a_job_gets() {
    let object = job(&json!({}));
    let labels = json!({
        "batch.kubernetes.io/controller-uid": "1", "batch.kubernetes.io/job-name": "x", "controller-uid": "1", "job-name": "x",
    });
    assert_eq!(object["metadata"]["labels"], labels);
    assert_eq!(object["spec"]["template"]["metadata"]["labels"], labels);
    assert_eq!(
        object["spec"]["selector"],
        json!({"matchLabels": {"batch.kubernetes.io/controller-uid": "1"}})
    );
    assert_eq!(
        (
            &object["spec"]["completions"],
            &object["spec"]["parallelism"]
        ),
        (&json!(1), &json!(1))
    );
    let object = job(
        &json!({"parallelism": 3, "podFailurePolicy": {"rules": [{"onPodConditions": [{"type": "T"}]}]}}),
    );
    let spec = &object["spec"];
    assert!(spec.get("completions").is_none());
    assert_eq!(spec["podReplacementPolicy"], "Failed");
    assert_eq!(
        spec["podFailurePolicy"]["rules"][0]["onPodConditions"][0]["status"],
        "True"
    );
}

#[test]
fn jobs() {
    for (change, expected) in [
        (json!({}), vec![]),
        (
            json!({"completionMode": "X", "backoffLimit": -1}),
            vec![
                "spec.backoffLimit: Invalid value: -1: must be greater than or equal to 0",
                "spec.completionMode: Unsupported value: \"X\": supported values: \"NonIndexed\", \"Indexed\"",
            ],
        ),
        (
            json!({"completionMode": "Indexed", "parallelism": 1, "maxFailedIndexes": 1}),
            vec![
                "spec.backoffLimitPerIndex: Required value: when maxFailedIndexes is specified",
                "spec.completions: Required value: when completion mode is Indexed",
            ],
        ),
        (
            json!({"backoffLimitPerIndex": 1}),
            vec!["spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode"],
        ),
        (
            json!({"managedBy": "me"}),
            vec![
                "spec.managedBy: Invalid value: \"me\": must be a domain-prefixed path (such as \"acme.io/foo\")",
            ],
        ),
        (
            json!({"podFailurePolicy": {"rules": [{"action": "X"}, {"action": "FailIndex", "onExitCodes": {"operator": "In", "values": [0, 0, -1], "containerName": "z"}}]}}),
            vec![
                "spec.podFailurePolicy.rules[0].action: Unsupported value: \"X\": supported values: \"Count\", \"FailIndex\", \"FailJob\", \"Ignore\"",
                "spec.podFailurePolicy.rules[0]: Invalid value: specifying one of OnExitCodes and OnPodConditions is required",
                "spec.podFailurePolicy.rules[1].action: Invalid value: \"FailIndex\": requires the backoffLimitPerIndex to be set",
                "spec.podFailurePolicy.rules[1].onExitCodes.containerName: Invalid value: \"z\": must be one of the container or initContainer names in the pod template",
                "spec.podFailurePolicy.rules[1].onExitCodes.values[0]: Invalid value: 0: must not be 0 for the In operator",
                "spec.podFailurePolicy.rules[1].onExitCodes.values[1]: Invalid value: 0: must not be 0 for the In operator",
                "spec.podFailurePolicy.rules[1].onExitCodes.values[1]: Duplicate value: 0",
                "spec.podFailurePolicy.rules[1].onExitCodes.values: Invalid value: [0,0,-1]: must be ordered",
            ],
        ),
        (
            json!({"successPolicy": {"rules": []}}),
            vec![
                "spec.successPolicy: Invalid value: {\"Rules\":[]}: requires indexed completion mode",
            ],
        ),
        (
            json!({"completionMode": "Indexed", "completions": 3, "successPolicy": {"rules": [{}, {"succeededIndexes": "0-1", "succeededCount": 4}, {"succeededIndexes": "9"}]}}),
            vec![
                "spec.successPolicy.rules[0]: Required value: at least one of succeededCount or succeededIndexes must be specified",
                "spec.successPolicy.rules[1].succeededCount: Invalid value: 4: must be less than or equal to 3 (the number of specified completions)",
                "spec.successPolicy.rules[1].succeededCount: Invalid value: 4: must be less than or equal to 2 (the number of indexes in the specified succeededIndexes field)",
                "spec.successPolicy.rules[2].succeededIndexes: Invalid value: \"9\": error parsing succeededIndexes: too large index: \"9\"",
            ],
        ),
        (
            json!({"template": {"spec": {"restartPolicy": "Always", "containers": [{"name": "c", "image": "i"}]}}}),
            vec![
                "spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\"",
            ],
        ),
        (
            json!({"selector": {"matchLabels": {"a": "b"}}}),
            vec![
                "spec.selector: Invalid value: {\"matchLabels\":{\"a\":\"b\",\"batch.kubernetes.io/controller-uid\":\"1\"}}: `selector` not auto-generated",
                "spec.template.metadata.labels: Invalid value: {\"batch.kubernetes.io/controller-uid\":\"1\",\"batch.kubernetes.io/job-name\":\"x\",\"controller-uid\":\"1\",\"job-name\":\"x\"}: `selector` does not match template `labels`",
            ],
        ),
    ] {
        let mut errors = Errors::new();
        Job.validate(&context(None), &job(&change), &mut errors);
        assert_eq!(texts(&errors), expected, "{change}");
    }
}

#[test]
fn what_of_a_job_may_change() {
    let indexed = json!({"completionMode": "Indexed", "completions": 2, "parallelism": 2});
    let suspended = json!({"suspend": true});
    let at_node = |node: &str| {
        let mut template = template();
        template["spec"]["nodeSelector"] = json!({"n": node});
        json!({"suspend": true, "template": template})
    };
    for (before, after, expected) in [
        (
            json!({}),
            json!({"parallelism": 2, "completions": 1}),
            vec![],
        ),
        (
            json!({}),
            json!({"completions": 5}),
            vec!["spec.completions"],
        ),
        (
            indexed.clone(),
            json!({"completionMode": "Indexed", "completions": 3, "parallelism": 3}),
            vec![],
        ),
        (
            indexed,
            json!({"completionMode": "Indexed", "completions": 3, "parallelism": 2}),
            vec!["spec.completions"],
        ),
        (
            json!({}),
            json!({"backoffLimitPerIndex": 1, "completionMode": "Indexed", "completions": 1}),
            vec!["spec.completionMode", "spec.backoffLimitPerIndex"],
        ),
        (suspended, at_node("a"), vec![]),
        (
            json!({}),
            with(at_node("a"), &json!({"suspend": false})),
            vec!["spec.template"],
        ),
    ] {
        let (mut errors, what) = (Errors::new(), format!("{after}"));
        Job.validate_update(&context(None), &job(&after), &job(&before), &mut errors);
        let paths: Vec<&str> = errors.0.iter().map(|error| error.path.as_str()).collect();
        assert_eq!(paths, expected, "{what}");
    }
}

#[test]
fn statuses_of_jobs() {
    let condition = |kind: &str| json!({"type": kind, "status": "True"});
    let (start, end) = ("2026-01-01T00:00:00Z", "2026-01-01T00:00:05Z");
    for (before, after, expected) in [
        (json!({}), json!({"active": 1, "startTime": start}), vec![]),
        (
            json!({"startTime": start}),
            json!({}),
            vec![
                "status.startTime: Invalid value: null: field is immutable for unsuspended job once set",
            ],
        ),
        (
            json!({"failed": 2, "succeeded": 2}),
            json!({"failed": 1, "succeeded": 1}),
            vec![
                "status.failed: Invalid value: 1: cannot decrease the failed counter",
                "status.succeeded: Invalid value: 1: cannot decrease the succeeded counter",
            ],
        ),
        (
            json!({}),
            json!({"completionTime": end}),
            vec![
                "status.completionTime: Invalid value: 2026-01-01 00:00:05 +0000 UTC: cannot set completionTime when there is no Complete=True condition",
            ],
        ),
        (
            json!({"startTime": start}),
            json!({"startTime": start, "active": 1, "conditions": [condition("Complete")]}),
            vec![
                "status.completionTime: Required value: completionTime is required for Complete jobs",
                "status.conditions: Invalid value: cannot set Complete=True condition without the SuccessCriteriaMet=true condition",
                "status.active: Invalid value: 1: active>0 is invalid for finished job",
            ],
        ),
        (
            json!({"conditions": [condition("Failed")]}),
            json!({}),
            vec![
                "status.conditions: Invalid value: cannot disable the terminal Failed=True condition",
            ],
        ),
        (
            json!({}),
            json!({"completedIndexes": "1", "ready": 2}),
            vec![
                "status.ready: Invalid value: 2: cannot set more ready pods than active",
                "status.completedIndexes: Invalid value: \"1\": error parsing completedIndexes: too large index: \"1\"",
                "status.completedIndexes: Invalid value: \"1\": cannot set non-empty completedIndexes when non-indexed completion mode",
            ],
        ),
    ] {
        let object = |status: &Value| with(job(&json!({})), &json!({"status": status}));
        let mut errors = Errors::new();
        Job.validate_update(
            &context(Some("status")),
            &object(&after),
            &object(&before),
            &mut errors,
        );
        assert_eq!(texts(&errors), expected, "{after}");
    }
}

#[test]
fn cron_jobs() {
    let cron_job = |change: &Value| {
        let spec =
            json!({"schedule": "* * * * *", "jobTemplate": {"spec": {"template": template()}}});
        let mut object = json!({"metadata": {"name": "x"}, "spec": with(spec, change)});
        CronJob.default(&mut object);
        object
    };
    for (change, expected) in [
        (json!({"timeZone": "Europe/Berlin"}), vec![]),
        (
            json!({"schedule": ""}),
            vec!["spec.schedule: Required value"],
        ),
        (
            json!({"schedule": "bad"}),
            vec![
                "spec.schedule: Invalid value: \"bad\": expected exactly 5 fields, found 1: [bad]",
            ],
        ),
        (
            json!({"schedule": "TZ=UTC * * * * *"}),
            vec![
                "spec.schedule: Invalid value: \"TZ=UTC * * * * *\": cannot use TZ or CRON_TZ in schedule, use timeZone field instead",
            ],
        ),
        (
            json!({"timeZone": "Nowhere", "concurrencyPolicy": "X", "failedJobsHistoryLimit": -1}),
            vec![
                "spec.timeZone: Invalid value: \"Nowhere\": unknown time zone Nowhere",
                "spec.concurrencyPolicy: Unsupported value: \"X\": supported values: \"Allow\", \"Forbid\", \"Replace\"",
                "spec.failedJobsHistoryLimit: Invalid value: -1: must be greater than or equal to 0",
            ],
        ),
        (
            json!({"jobTemplate": {"spec": {"template": template(), "selector": {}, "manualSelector": true}}}),
            vec![
                "spec.jobTemplate.spec.selector: Invalid value: {}: `selector` will be auto-generated",
                "spec.jobTemplate.spec.manualSelector: Unsupported value: true: supported values: \"nil\", \"false\"",
            ],
        ),
    ] {
        let mut errors = Errors::new();
        CronJob.validate(&context(None), &cron_job(&change), &mut errors);
        assert_eq!(texts(&errors), expected, "{change}");
    }
    let object = with(
        cron_job(&json!({})),
        &json!({"metadata": {"name": "n".repeat(53)}}),
    );
    let mut errors = Errors::new();
    CronJob.validate(&context(None), &object, &mut errors);
    assert!(texts(&errors)[0].ends_with("must be no more than 52 characters"));
}
