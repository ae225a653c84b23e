//! `PodSecurity`: namespaces say by labels how much their pods may be allowed to do (`k8s.io/pod-security-admission`).
mod checks;
mod level;

use self::checks::Finding;
use self::level::{Level, Policy, Standard};
use super::{Admission, AdmissionRequest, Operation};
use crate::object::field::Errors;
use crate::object::{Document, GroupKind, Status};
use async_trait::async_trait;
use serde_json::Value;
use std::collections::BTreeMap;

/// So many pods of a namespace are looked at when its level changes.
const MOST_PODS: usize = 3000;
/// Subresources of pods that do not change what a pod may do.
const IGNORED: [&str; 8] = [
    "exec",
    "attach",
    "binding",
    "eviction",
    "log",
    "portforward",
    "proxy",
    "status",
];

#[derive(Debug)]
pub(super) struct PodSecurity;

#[async_trait]
impl Admission for PodSecurity {
    fn name(&self) -> &'static str {
        "PodSecurity"
    }

    async fn validate(
        &self,
        request: &AdmissionRequest<'_>,
        object: Option<&Value>,
    ) -> Result<(), Status> {
        let writes = matches!(request.operation, Operation::Create | Operation::Update);
        let Some(object) = object.filter(|_| writes) else {
            return Ok(());
        };
        if request.is_for("", "namespaces") {
            return namespace(request, object).await;
        }
        let pod = request.is_for("", "pods");
        let Some((metadata, spec)) = template(request, object) else {
            return Ok(());
        };
        let ignored = if pod {
            IGNORED.contains(&request.subresource)
        } else {
            !request.subresource.is_empty()
        };
        if ignored {
            return Ok(());
        }
        let policy = policy(request).await?;
        let unrestricted = |standard: &Standard| standard.level == Level::Privileged;
        let free = unrestricted(&policy.warn) && unrestricted(&policy.audit);
        if free && (!pod || unrestricted(&policy.enforce)) {
            return Ok(());
        }
        let unchanged = request.operation == Operation::Update
            && request.old.is_some_and(|old| !is_significant(object, old));
        if pod && unchanged {
            return Ok(());
        }
        evaluate(request, object, &policy, (metadata, spec), pod)
    }
}

async fn policy(request: &AdmissionRequest<'_>) -> Result<Policy, Status> {
    let found = request
        .view
        .find("", "v1", "namespaces", "", request.namespace)
        .await?;
    let Some((_, namespace)) = found else {
        return Err(Status::internal(&format!(
            "failed to lookup namespace {:?}",
            request.namespace
        )));
    };
    Ok(Policy::of(|label| namespace.label(label)).0)
}

/// The metadata and the spec of the pods that an object is or makes.
fn template<'a>(
    request: &AdmissionRequest<'_>,
    object: &'a Value,
) -> Option<(&'a Value, &'a Value)> {
    let resource = &request.resource;
    let path: &[&str] = match (resource.group.as_str(), resource.resource.as_str()) {
        ("", "pods") => &[],
        ("", "podtemplates") => &["template"],
        ("", "replicationcontrollers")
        | ("apps", "replicasets" | "deployments" | "statefulsets" | "daemonsets")
        | ("batch", "jobs") => &["spec", "template"],
        ("batch", "cronjobs") => &["spec", "jobTemplate", "spec", "template"],
        _ => return None,
    };
    let template = object.at(path).filter(|template| template.is_object())?;
    let spec = template.get("spec").filter(|spec| spec.is_object())?;
    Some((template.get("metadata").unwrap_or(&Value::Null), spec))
}

fn evaluate(
    request: &AdmissionRequest<'_>,
    object: &Value,
    policy: &Policy,
    (metadata, spec): (&Value, &Value),
    enforce: bool,
) -> Result<(), Status> {
    let found = |standard: &Standard| checks::run(standard, metadata, spec);
    let mut refused = None;
    if enforce {
        let findings = found(&policy.enforce);
        request.session.annotate(
            "pod-security.kubernetes.io/enforce-policy",
            policy.enforce.to_string(),
        );
        if !findings.is_empty() {
            let standard = policy.enforce.to_string();
            let why = format!("violates PodSecurity {standard:?}: {}", details(&findings));
            refused = Some(request.forbidden(Some(object), &why));
        }
    }
    let findings = found(&policy.audit);
    if !findings.is_empty() {
        request.session.annotate(
            "pod-security.kubernetes.io/audit-violations",
            would_violate(&policy.audit, &findings),
        );
    }
    if let Some(refused) = refused {
        return Err(refused);
    }
    let findings = found(&policy.warn);
    if !findings.is_empty() {
        request.warn(would_violate(&policy.warn, &findings));
    }
    Ok(())
}

fn would_violate(standard: &Standard, findings: &[Finding]) -> String {
    let standard = standard.to_string();
    format!(
        "would violate PodSecurity {standard:?}: {}",
        details(findings)
    )
}

fn details(findings: &[Finding]) -> String {
    let texts: Vec<String> = findings
        .iter()
        .map(|finding| {
            if finding.detail.is_empty() {
                finding.reason.clone()
            } else {
                format!("{} ({})", finding.reason, finding.detail)
            }
        })
        .collect();
    texts.join(", ")
}

fn reasons(findings: &[Finding]) -> String {
    let texts: Vec<&str> = findings
        .iter()
        .map(|finding| finding.reason.as_str())
        .collect();
    texts.join(", ")
}

/// The labels of a namespace must make sense; who makes it stricter is told which pods would not be let in any more.
async fn namespace(request: &AdmissionRequest<'_>, object: &Value) -> Result<(), Status> {
    if !request.subresource.is_empty() {
        return Ok(());
    }
    let (new, errors) = Policy::of(|label| object.label(label));
    let invalid = |errors: &Errors| {
        Err(Status::invalid(
            &GroupKind::new("", "Namespace"),
            object.name(),
            errors,
        ))
    };
    let Some(old) = request.old else {
        return if errors.is_empty() {
            Ok(())
        } else {
            invalid(&errors)
        };
    };
    let (old, old_errors) = Policy::of(|label| old.label(label));
    // What was wrong before may stay.
    if !errors.is_empty() && errors != old_errors {
        return invalid(&errors);
    }
    let relaxed =
        new.enforce.version == old.enforce.version && new.enforce.level <= old.enforce.level;
    if new.enforce == old.enforce || new.enforce.level == Level::Privileged || relaxed {
        return Ok(());
    }
    for warning in violations(request, object.name(), &new.enforce).await? {
        request.warn(warning);
    }
    Ok(())
}

async fn violations(
    request: &AdmissionRequest<'_>,
    namespace: &str,
    standard: &Standard,
) -> Result<Vec<String>, Status> {
    let pods = request.view.newest("", "v1", "pods", namespace).await?;
    // By what is wrong with them: the first pod by name, and how many there are.
    let mut found: BTreeMap<String, (String, usize)> = BTreeMap::new();
    for pod in pods.iter().take(MOST_PODS) {
        let empty = Value::Null;
        let metadata = pod.get("metadata").unwrap_or(&empty);
        let findings = checks::run(standard, metadata, &pod["spec"]);
        if !findings.is_empty() {
            let entry = found
                .entry(reasons(&findings))
                .or_insert_with(|| (pod.name().to_owned(), 0));
            entry.1 += 1;
        }
    }
    let mut warnings = Vec::new();
    if pods.len() > MOST_PODS {
        warnings.push(format!(
            "new PodSecurity enforce level only checked against the first {MOST_PODS} of {} existing pods",
            pods.len()
        ));
    }
    if !found.is_empty() {
        let standard = standard.to_string();
        warnings.push(format!(
            "existing pods in namespace {namespace:?} violate the new PodSecurity enforce level {standard:?}"
        ));
    }
    let mut texts: Vec<String> = found
        .into_iter()
        .map(|(reasons, (pod, count))| match count {
            1 => format!("{pod}: {reasons}"),
            2 => format!("{pod} (and 1 other pod): {reasons}"),
            _ => format!("{pod} (and {} other pods): {reasons}", count - 1),
        })
        .collect();
    texts.sort_unstable();
    warnings.append(&mut texts);
    Ok(warnings)
}

/// Whether an update of a pod changes anything that a check looks at.
fn is_significant(new: &Value, old: &Value) -> bool {
    const SECCOMP: &str = "seccomp.security.alpha.kubernetes.io/pod";
    const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";
    let changed = |container: &Value, before: &Value| {
        let key = format!("{SECCOMP_CONTAINER}{}", container.str_at(&["name"]));
        container.get("image") != before.get("image")
            || new.annotation(&key) != old.annotation(&key)
    };
    let differs = |list: &str| {
        let (new, old) = (new.list_at(&["spec", list]), old.list_at(&["spec", list]));
        new.len() != old.len() || new.iter().zip(old).any(|(new, old)| changed(new, old))
    };
    let before = old.list_at(&["spec", "ephemeralContainers"]);
    new.annotation(SECCOMP) != old.annotation(SECCOMP)
        || differs("containers")
        || differs("initContainers")
        || new
            .list_at(&["spec", "ephemeralContainers"])
            .iter()
            .any(|container| {
                let known = before
                    .iter()
                    .find(|known| known.get("name") == container.get("name"));
                known.is_none_or(|known| changed(container, known))
            })
}

#[cfg(test)]
mod tests;
