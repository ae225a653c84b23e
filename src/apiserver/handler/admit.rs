//! Where admission is asked: before an object is validated, and before it is written.
use super::call::Call;
use crate::apiserver::admission::{AdmissionRequest, Operation, Session, UserInfo, View};
use crate::object::Status;
use serde_json::{Value, json};

/// Lets the plugins change the new object.
///
/// # Errors
/// What a plugin that refuses says.
pub(crate) async fn mutate(
    call: &Call<'_>,
    name: &str,
    object: &mut Value,
    old: Option<&Value>,
) -> Result<(), Status> {
    let facts = Facts::of(call, true, old);
    let request = facts.request(call, name, old);
    let outcome = call.shared.admission.mutate(&request, object).await;
    facts.log();
    outcome
}

/// Asks the plugins about an action that is posted to an object: a binding, an eviction. They may change it.
///
/// # Errors
/// What a plugin that refuses says.
pub(crate) async fn act(call: &Call<'_>, name: &str, action: &mut Value) -> Result<(), Status> {
    mutate(call, name, action, None).await?;
    validate(call, name, Some(action), None).await
}

/// Asks the plugins about what is to be written; `object` is `None` for a deletion.
///
/// # Errors
/// What a plugin that refuses says.
pub(crate) async fn validate(
    call: &Call<'_>,
    name: &str,
    object: Option<&Value>,
    old: Option<&Value>,
) -> Result<(), Status> {
    let facts = Facts::of(call, object.is_some(), old);
    let request = facts.request(call, name, old);
    let outcome = call.shared.admission.validate(&request, object).await;
    facts.log();
    outcome
}

/// What an [`AdmissionRequest`] borrows.
struct Facts {
    operation: Operation,
    options: Value,
    user: UserInfo,
    session: Session,
}

impl Facts {
    fn of(call: &Call<'_>, writes: bool, old: Option<&Value>) -> Self {
        let (operation, kind) = match (writes, old) {
            (true, None) => (Operation::Create, "CreateOptions"),
            (true, Some(_)) => (Operation::Update, "UpdateOptions"),
            (false, _) => (Operation::Delete, "DeleteOptions"),
        };
        let mut options = json!({ "kind": kind, "apiVersion": "meta.k8s.io/v1" });
        if call.options.dry_run {
            options["dryRun"] = json!(["All"]);
        }
        if !call.options.field_manager.is_empty() {
            options["fieldManager"] = call.options.field_manager.as_str().into();
        }
        Self {
            operation,
            options,
            user: UserInfo::from(&*call.request.user),
            session: Session::new(call.warnings.clone()),
        }
    }

    /// What plugins note for the audit log.
    fn log(&self) {
        for (key, value) in self.session.annotations() {
            tracing::debug!(target: "audit", key, value, "admission");
        }
    }

    fn request<'a>(
        &'a self,
        call: &'a Call<'_>,
        name: &'a str,
        old: Option<&'a Value>,
    ) -> AdmissionRequest<'a> {
        let gvk = &call.resource.gvk;
        // Actions are kinds of their own.
        let action = call
            .subresource
            .filter(|_| self.operation == Operation::Create)
            .and_then(|name| call.resource.subresource(name));
        AdmissionRequest {
            operation: self.operation,
            kind: action.map_or(gvk, |action| &action.gvk).clone(),
            resource: call.resource.group_resource(),
            version: &gvk.version,
            subresource: call.subresource.unwrap_or_default(),
            namespace: call.namespace,
            name,
            old,
            options: &self.options,
            dry_run: call.options.dry_run,
            user: &self.user,
            view: View::of(call.shared),
            session: &self.session,
        }
    }
}
