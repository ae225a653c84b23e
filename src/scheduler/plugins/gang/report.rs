//! Tells the world what became of a pod group: its condition.

use std::sync::Arc;

use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::client;
use crate::reconcile::Key;
use crate::scheduler::framework::{GangVerdict, Handle};
use crate::scheduler::pod_group::{POD_GROUP_SCHEDULED, PodGroup, PodGroupCondition};

/// Puts the condition on the group, unless it is there already.
pub(super) async fn tell(handle: Handle, group: Arc<PodGroup>, verdict: GangVerdict) {
    let now = handle.clock().now();
    let now = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let Some(conditions) = conditions(&group, verdict, now) else {
        return;
    };
    let Key { namespace, name } = Key::of(&*group);
    let groups: Api<PodGroup> = Api::namespaced(handle.client().clone(), &namespace);
    let patch =
        json!({"metadata": {"uid": group.metadata.uid}, "status": {"conditions": conditions}});
    let patched = groups
        .patch_status(&name, &PatchParams::default(), &Patch::Merge(patch))
        .await;
    match patched {
        Err(error) if !client::is_not_found(&error) && !client::is_conflict(&error) => {
            tracing::warn!(%error, pod_group = &*name, "the pod group's condition could not be written");
        }
        _ => {}
    }
}

/// The group's conditions as they are to be; `None`: as they are. That a group was scheduled once is not taken back for the sake of
/// pods that came later.
fn conditions(
    group: &PodGroup,
    verdict: GangVerdict,
    now: String,
) -> Option<Vec<PodGroupCondition>> {
    let (status, reason, message) = match verdict {
        GangVerdict::Scheduled => ("True", "Scheduled", String::new()),
        GangVerdict::Unschedulable(why) => ("False", "Unschedulable", why),
        GangVerdict::Failed(error) => ("False", "SchedulerError", error),
    };
    let all = group.status.iter().flat_map(|status| &status.conditions);
    let (own, mut others): (Vec<_>, Vec<_>) = all
        .cloned()
        .partition(|condition| condition.type_ == POD_GROUP_SCHEDULED);
    let old = own.into_iter().next();
    if old.as_ref().is_some_and(|old| old.status == "True") && status != "True" {
        return None;
    }
    let since = old.as_ref().filter(|old| old.status == status);
    let since = since.and_then(|old| old.last_transition_time.clone());
    let new = PodGroupCondition {
        type_: POD_GROUP_SCHEDULED.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message,
        last_transition_time: Some(since.unwrap_or(now)),
        observed_generation: group.metadata.generation,
    };
    if old.as_ref() == Some(&new) {
        return None;
    }
    others.push(new);
    Some(others)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn conditions_of_groups() {
        let group = |conditions: Value| -> PodGroup {
            serde_json::from_value(json!({
                "apiVersion": "scheduling.k8s.io/v1alpha2", "kind": "PodGroup", "metadata": {"name": "g", "generation": 2},
                "spec": {"schedulingPolicy": {"gang": {"minCount": 2}}}, "status": {"conditions": conditions},
            }))
            .unwrap()
        };
        let condition = |status: &str, reason: &str, message: &str, since: &str| {
            json!({
                "type": POD_GROUP_SCHEDULED, "status": status, "reason": reason, "message": message,
                "lastTransitionTime": since, "observedGeneration": 2,
            })
        };
        let (scheduled, unfit) = (
            condition("True", "Scheduled", "", "then"),
            condition("False", "Unschedulable", "too few", "then"),
        );
        let other = json!({"type": "Other", "status": "True", "reason": "R", "message": "M"});
        let no = |why: &str| GangVerdict::Unschedulable(why.to_owned());
        let failed = GangVerdict::Failed("broken".to_owned());
        for (before, verdict, after) in [
            (
                json!([]),
                no("too few"),
                json!([condition("False", "Unschedulable", "too few", "now")]),
            ),
            (
                json!([other]),
                GangVerdict::Scheduled,
                json!([other, condition("True", "Scheduled", "", "now")]),
            ),
            (
                json!([unfit]),
                GangVerdict::Scheduled,
                json!([condition("True", "Scheduled", "", "now")]),
            ),
            (
                json!([unfit]),
                no("fewer"),
                json!([condition("False", "Unschedulable", "fewer", "then")]),
            ),
            (
                json!([unfit]),
                failed.clone(),
                json!([condition("False", "SchedulerError", "broken", "then")]),
            ),
            (json!([unfit]), no("too few"), Value::Null),
            (json!([scheduled]), GangVerdict::Scheduled, Value::Null),
            (json!([scheduled]), no("too few"), Value::Null),
            (json!([scheduled]), failed, Value::Null),
        ] {
            let found = conditions(&group(before.clone()), verdict.clone(), "now".to_owned());
            assert_eq!(json!(found), after, "{before} {verdict:?}");
        }
    }
}
