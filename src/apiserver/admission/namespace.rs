//! `NamespaceLifecycle`: objects need a namespace that exists and stays, and some namespaces stay for good.
use super::{Admission, AdmissionRequest, Operation};
use crate::object::status::Cause;
use crate::object::{Document, GroupResource, Status};
use async_trait::async_trait;
use serde_json::Value;

/// Namespaces that cannot be deleted.
const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

#[derive(Debug)]
pub(super) struct NamespaceLifecycle;

#[async_trait]
impl Admission for NamespaceLifecycle {
    fn name(&self) -> &'static str {
        "NamespaceLifecycle"
    }

    async fn mutate(
        &self,
        request: &AdmissionRequest<'_>,
        object: &mut Value,
    ) -> Result<(), Status> {
        let namespaces =
            request.resource.group.is_empty() && request.resource.resource == "namespaces";
        // Asking about one's access must not tell whether a namespace exists.
        let review = request.resource.group == "authorization.k8s.io";
        let writes = matches!(request.operation, Operation::Create | Operation::Update);
        if namespaces || review || !writes || request.namespace.is_empty() {
            return Ok(());
        }
        let Some((resource, namespace)) = request
            .view
            .find("", "v1", "namespaces", "", request.namespace)
            .await?
        else {
            return Err(Status::not_found(
                &GroupResource::new("", "namespaces"),
                request.namespace,
            ));
        };
        if request.operation != Operation::Create {
            return Ok(());
        }
        let terminating = match namespace.field(&resource, "status.phase") {
            Some(phase) => phase == "Terminating",
            None => namespace
                .document()
                .is_ok_and(|namespace| namespace.str_at(&["status", "phase"]) == "Terminating"),
        };
        if !terminating {
            return Ok(());
        }
        let name = request.namespace;
        let why = format!(
            "unable to create new content in namespace {name} because it is being terminated"
        );
        let mut status = request.forbidden(Some(object), &why);
        if let Some(details) = &mut status.details {
            details.causes.push(Cause {
                reason: "NamespaceTerminating".into(),
                message: format!("namespace {name} is being terminated"),
                field: "metadata.namespace".into(),
            });
        }
        Err(status)
    }

    async fn validate(
        &self,
        request: &AdmissionRequest<'_>,
        object: Option<&Value>,
    ) -> Result<(), Status> {
        let namespaces =
            request.resource.group.is_empty() && request.resource.resource == "namespaces";
        if namespaces && request.operation == Operation::Delete && IMMORTAL.contains(&request.name)
        {
            return Err(request.forbidden(object, "this namespace may not be deleted"));
        }
        Ok(())
    }
}
