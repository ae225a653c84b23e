//! What a job's status may become. It is watched closely, since other controllers than Kubernetes' own may manage jobs; but a
//! rule is applied only to what the update changes.

use serde_json::Value;

use super::{indexes, spec};
use crate::apiserver::kinds::check;
use crate::object::Document;
use crate::object::field::{ErrorKind, Errors, Path};

/// What the rules look at.
struct View<'a> {
    spec: &'a Value,
    status: &'a Value,
}

impl<'a> View<'a> {
    fn of(job: &'a Value) -> Self {
        const NONE: &Value = &Value::Null;
        Self {
            spec: job.get("spec").unwrap_or(NONE),
            status: job.get("status").unwrap_or(NONE),
        }
    }
    fn holds(&self, condition: &str) -> bool {
        let conditions = self.status.list_at(&["conditions"]).iter();
        conditions
            .filter(|have| have.str_at(&["type"]) == condition)
            .any(|have| have.str_at(&["status"]) == "True")
    }
    fn is_finished(&self) -> bool {
        self.holds("Complete") || self.holds("Failed")
    }
    fn number(&self, field: &str) -> i64 {
        self.status.i64_at(&[field]).unwrap_or(0)
    }
    fn text(&self, field: &str) -> Option<&'a str> {
        self.status.get(field).and_then(Value::as_str)
    }
    fn is_set(&self, field: &str) -> bool {
        self.text(field).is_some_and(|text| !text.is_empty())
    }
}

/// Checks the new status of a job.
pub(super) fn validate_update(object: &Value, old: &Value, errors: &mut Errors) {
    let (new, old) = (View::of(object), View::of(old));
    validate_counts(&new, errors);
    validate_conditions(&new, &old, errors);
    validate_times(&new, &old, errors);
    validate_finished(&new, &old, errors);
    validate_indexes(&new, &old, errors);
    validate_success(&new, errors);
    validate_change(&new, &old, errors);
}

fn path(field: &str) -> Path {
    Path::new("status").child(field)
}

/// The conditions do not fit together.
fn conditions(why: &str, errors: &mut Errors) {
    let message = format!("Invalid value: {why}");
    errors.push(ErrorKind::Invalid, path("conditions"), message);
}

fn validate_counts(new: &View<'_>, errors: &mut Errors) {
    let status = Path::new("status");
    for field in ["active", "succeeded", "failed", "ready", "terminating"] {
        check::not_negative(new.status, field, &status, errors);
    }
    let mut seen: Vec<&str> = Vec::new();
    for list in ["succeeded", "failed"] {
        let uids = new.status.list_at(&["uncountedTerminatedPods", list]);
        for (index, uid) in uids.iter().filter_map(Value::as_str).enumerate() {
            let at = path("uncountedTerminatedPods").child(list).index(index);
            if uid.is_empty() {
                errors.invalid(at, uid, "must not be empty");
            } else if seen.contains(&uid) {
                errors.duplicate(at, uid);
            } else {
                seen.push(uid);
            }
        }
    }
}

fn validate_conditions(new: &View<'_>, old: &View<'_>, errors: &mut Errors) {
    let changed = |condition: &str| new.holds(condition) != old.holds(condition);
    if !new.holds("Complete") {
        return;
    }
    if (changed("Complete") || changed("Failed")) && new.holds("Failed") {
        conditions(
            "cannot set Complete=True and Failed=true conditions",
            errors,
        );
    }
    if (changed("Complete") || changed("FailureTarget")) && new.holds("FailureTarget") {
        let why = "cannot set Complete=True and FailureTarget=true conditions";
        conditions(why, errors);
    }
}

fn validate_times(new: &View<'_>, old: &View<'_>, errors: &mut Errors) {
    let complete = new.holds("Complete");
    let (start, end) = (new.text("startTime"), new.text("completionTime"));
    let end_changed = end != old.text("completionTime");
    if complete != old.holds("Complete") || end_changed {
        match end {
            Some(end) if !complete => {
                let why = "cannot set completionTime when there is no Complete=True condition";
                errors.invalid_text(path("completionTime"), &go_time(end), why);
            }
            None if complete => {
                let why = "completionTime is required for Complete jobs";
                errors.required(path("completionTime"), why);
            }
            _ => {}
        }
    }
    if (end_changed || start != old.text("startTime"))
        && let (Some(start), Some(end)) = (start, end)
        && end < start
    {
        let why = "completionTime cannot be set before startTime";
        errors.invalid_text(path("completionTime"), &go_time(end), why);
    }
    if complete != old.holds("Complete") && complete && !new.holds("SuccessCriteriaMet") {
        let why =
            "cannot set Complete=True condition without the SuccessCriteriaMet=true condition";
        conditions(why, errors);
    }
    let failed = new.holds("Failed");
    if failed != old.holds("Failed") && failed && !new.holds("FailureTarget") {
        let why = "cannot set Failed=True condition without the FailureTarget=true condition";
        conditions(why, errors);
    }
}

fn validate_finished(new: &View<'_>, old: &View<'_>, errors: &mut Errors) {
    let finished = new.is_finished();
    let finish_changed = finished != old.is_finished();
    let changed = |field: &str| finish_changed || new.status.get(field) != old.status.get(field);
    if finished {
        let active = new.number("active");
        if changed("active") && active > 0 {
            errors.invalid(
                path("active"),
                active,
                "active>0 is invalid for finished job",
            );
        }
        if changed("startTime") && !new.is_set("startTime") {
            let why = "startTime is required for finished job";
            errors.required(path("startTime"), why);
        }
        let uncounted = new.status.get("uncountedTerminatedPods");
        let lists = ["succeeded", "failed"];
        let any = |list| {
            !new.status
                .list_at(&["uncountedTerminatedPods", list])
                .is_empty()
        };
        if let Some(uncounted) = uncounted.filter(|_| lists.into_iter().any(any))
            && changed("uncountedTerminatedPods")
        {
            let definition = "api.batch.v1.UncountedTerminatedPods";
            let why = "uncountedTerminatedPods needs to be empty for finished job";
            let at = path("uncountedTerminatedPods");
            check::invalid_struct(uncounted, definition, at, why, errors);
        }
        let terminating = new.number("terminating");
        if changed("terminating") && terminating > 0 {
            let why = "terminating>0 is invalid for finished job";
            errors.invalid(path("terminating"), terminating, why);
        }
    }
    let ready = new.number("ready");
    let moved = |field: &str| new.number(field) != old.number(field);
    if (moved("ready") || moved("active")) && ready > new.number("active") {
        let why = "cannot set more ready pods than active";
        errors.invalid(path("ready"), ready, why);
    }
}

fn validate_indexes(new: &View<'_>, old: &View<'_>, errors: &mut Errors) {
    let completed = new.text("completedIndexes").unwrap_or_default();
    let failed = new.text("failedIndexes");
    let completed_changed = completed != old.text("completedIndexes").unwrap_or_default();
    let failed_changed = failed != old.text("failedIndexes");
    let completions = new.spec.i64_at(&["completions"]);
    let per_index = new.spec.i64_at(&["backoffLimitPerIndex"]).is_some();
    let unreadable = |field: &str, text: &str, errors: &mut Errors| {
        if let Some(Err(why)) = completions.map(|completions| indexes::parse(text, completions)) {
            let why = format!("error parsing {field}: {why}");
            errors.invalid(path(field), text, &why);
        }
    };
    if completed_changed {
        unreadable("completedIndexes", completed, errors);
    }
    if let Some(failed) = failed.filter(|_| failed_changed && per_index) {
        unreadable("failedIndexes", failed, errors);
    }
    if completed_changed && !completed.is_empty() && !spec::is_indexed(new.spec) {
        let why = "cannot set non-empty completedIndexes when non-indexed completion mode";
        errors.invalid(path("completedIndexes"), completed, why);
    }
    let Some(failed) = failed else { return };
    if failed_changed && !per_index {
        let why = "cannot set non-null failedIndexes when backoffLimitPerIndex is null";
        errors.invalid(path("failedIndexes"), failed, why);
    }
    if (failed_changed || completed_changed)
        && let Some(index) =
            completions.and_then(|completions| indexes::overlap(completed, failed, completions))
    {
        let why = format!("failedIndexes and completedIndexes overlap at index: {index}");
        errors.invalid(path("failedIndexes"), failed, &why);
    }
}

fn validate_success(new: &View<'_>, errors: &mut Errors) {
    let met = new.holds("SuccessCriteriaMet");
    if met && new.holds("Failed") {
        let why = "cannot set SuccessCriteriaMet=True and Failed=true conditions";
        conditions(why, errors);
    }
    if met && new.holds("FailureTarget") {
        let why = "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions";
        conditions(why, errors);
    }
    let has_policy = spec::object_at(new.spec, "successPolicy").is_some();
    if has_policy && !met && new.holds("Complete") {
        let why =
            "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True";
        conditions(why, errors);
    }
}

fn validate_change(new: &View<'_>, old: &View<'_>, errors: &mut Errors) {
    for condition in ["Failed", "Complete", "FailureTarget"] {
        if old.holds(condition) && !new.holds(condition) {
            let why = format!("cannot disable the terminal {condition}=True condition");
            conditions(&why, errors);
        }
    }
    let decreased = |field: &str, errors: &mut Errors| {
        if new.number(field) < old.number(field) {
            let why = format!("cannot decrease the {field} counter");
            errors.invalid(path(field), new.number(field), &why);
        }
    };
    decreased("failed", errors);
    // A job that is scaled by its completions may forget successes.
    let scaled = new.spec.i64_at(&["completions"]) == new.spec.i64_at(&["parallelism"]);
    if !(spec::is_indexed(new.spec) && scaled) {
        decreased("succeeded", errors);
    }
    let (end, before) = (new.text("completionTime"), old.text("completionTime"));
    if let (Some(end), Some(before)) = (end, before)
        && end != before
    {
        let why = "field is immutable";
        errors.invalid_text(path("completionTime"), &go_time(end), why);
    }
    let suspended = new.spec.bool_at(&["suspend"]) == Some(true);
    let (start, before) = (new.text("startTime"), old.text("startTime"));
    if before.is_some() && start != before && !suspended {
        let shown = start.map_or_else(|| "null".to_owned(), go_time);
        let why = "field is immutable for unsuspended job once set";
        errors.invalid_text(path("startTime"), &shown, why);
    }
    let met = "SuccessCriteriaMet";
    if old.holds(met) && !new.holds(met) {
        conditions(
            "cannot disable the SuccessCriteriaMet=True condition",
            errors,
        );
    }
    if old.holds("Complete") && !old.holds(met) && new.holds(met) {
        let why = "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions";
        conditions(why, errors);
    }
}

/// A time as Go prints it.
fn go_time(text: &str) -> String {
    let (day, time) = text.split_once('T').unwrap_or((text, ""));
    format!("{day} {} +0000 UTC", time.trim_end_matches('Z'))
}
