//! Where admission is asked: before an object is validated, and before it is written.
use super::call::Call;
use crate::apiserver::Scale;
use crate::apiserver::admission::{AdmissionRequest, Operation, Session, UserInfo, View};
use crate::apiserver::request::ResourceRequest;
use crate::apiserver::response::Warnings;
use crate::apiserver::server::Shared;
use crate::apiserver::subresource::scale;
use crate::object::{GroupVersionKind, Status};
use serde_json::{Value, json};
use std::sync::Arc;

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
    if let Some(paths) = scaled(call) {
        let old = old.map(|old| scale::of(old, &paths));
        let mut shown = scale::of(object, &paths);
        run_mutate(call, name, &mut shown, old.as_ref()).await?;
        scale::set_replicas(object, &paths, &shown);
        return Ok(());
    }
    run_mutate(call, name, object, old).await
}

async fn run_mutate(
    call: &Call<'_>,
    name: &str,
    object: &mut Value,
    old: Option<&Value>,
) -> Result<(), Status> {
    let facts = Facts::of(call, true, old);
    let request = facts.request(call, name, old);
    let outcome = call.shared.admission.mutate(&request, object).await;
    log(&facts.session, &call.warnings);
    outcome
}

/// Of a write of the scale plugins see the scale, not what is scaled.
fn scaled(call: &Call<'_>) -> Option<Scale> {
    let scale = call.resource.strategy.scale();
    scale.filter(|_| call.subresource == Some("scale"))
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
    let paths = scaled(call);
    let shown = |object: Option<&Value>| Some(scale::of(object?, paths.as_ref()?));
    let (shown, shown_old) = (shown(object), shown(old));
    let (object, old) = (shown.as_ref().or(object), shown_old.as_ref().or(old));
    let facts = Facts::of(call, object.is_some(), old);
    let request = facts.request(call, name, old);
    let outcome = call.shared.admission.validate(&request, object).await;
    log(&facts.session, &call.warnings);
    outcome
}

/// Asks the plugins about a connection; `options` says what is asked of it, and they may change that. `kind` is its kind.
///
/// # Errors
/// What a plugin that refuses says.
pub(crate) async fn connect(
    shared: &Arc<Shared>,
    request: &ResourceRequest,
    kind: &GroupVersionKind,
    options: &mut Value,
) -> Result<(), Status> {
    let user = UserInfo::from(&*request.user);
    let session = Session::new(request.warnings.clone());
    let asked = AdmissionRequest {
        operation: Operation::Connect,
        kind: kind.clone(),
        resource: request.resource.group_resource(),
        version: &request.resource.gvk.version,
        subresource: request.subresource.as_deref().unwrap_or_default(),
        namespace: &request.namespace,
        name: &request.name,
        old: None,
        options: &Value::Null,
        dry_run: false,
        user: &user,
        view: View::of(shared),
        session: &session,
    };
    let outcome = async {
        shared.admission.mutate(&asked, options).await?;
        shared.admission.validate(&asked, Some(options)).await
    };
    let outcome = outcome.await;
    log(&session, &request.warnings);
    outcome
}

/// What plugins note for the audit log.
fn log(session: &Session, warnings: &Warnings) {
    let annotations = session.annotations();
    if !annotations.is_empty() {
        warnings.annotate(annotations);
    }
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

    fn request<'a>(
        &'a self,
        call: &'a Call<'_>,
        name: &'a str,
        old: Option<&'a Value>,
    ) -> AdmissionRequest<'a> {
        let gvk = &call.resource.gvk;
        // Actions are kinds of their own, and so is the scale.
        let action = call
            .subresource
            .filter(|name| self.operation == Operation::Create || *name == "scale")
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
