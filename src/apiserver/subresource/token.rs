//! `serviceaccounts/token`: a token for a service account, made on request and kept nowhere.
use crate::apiserver::auth::token::{Bound, Claims, Named};
use crate::apiserver::handler::call::{Call, Current, store_failure};
use crate::apiserver::handler::{admit, answer, body, metadata, ownership};
use crate::apiserver::registry::encoding;
use crate::apiserver::request::ResourceRequest;
use crate::apiserver::request::options::WriteOptions;
use crate::apiserver::response::{self, Response};
use crate::apiserver::server::Shared;
use crate::apiserver::transform;
use crate::object::field::{Errors, Path};
use crate::object::{Document, GroupKind, GroupResource, GroupVersion, GroupVersionKind, Status};
use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::sync::Arc;

const GROUP: &str = "authentication.k8s.io";
/// So long a token is good when nothing is said, in seconds.
const USUAL: i64 = 3600;
/// What the tokens of pods ask for, by which they are told from others.
const OF_PODS: i64 = USUAL + 7;
/// So long tokens of pods are good in truth, until all clients read them anew.
const EXTENDED: i64 = 365 * 24 * 3600;

/// Makes a token.
pub(crate) async fn create(
    shared: &Arc<Shared>,
    request: &ResourceRequest,
) -> Result<Response, Status> {
    let form = answer::negotiate(request)?;
    let options = WriteOptions::parse(&request.query, "CreateOptions", false)?;
    let mut call = Call::new(shared, request, options);
    let gvk = GroupVersionKind::new(GROUP, "v1", "TokenRequest");
    let mut asked = body::of_kind(&mut call, &gvk)?;
    asked.default_at(&["spec", "expirationSeconds"], USUAL);
    let named_namespace = asked.namespace().to_owned();
    metadata::place(call.resource, call.namespace, &mut asked)?;
    if named_namespace.is_empty() {
        metadata::of(&mut asked).remove("namespace");
    }
    ownership::track_as(&call, &gvk, &mut asked);
    admit::mutate(&call, &request.name, &mut asked, None).await?;
    check_name(&asked, &request.name)?;
    let account = call.read(&request.name).await?;
    let account = account.ok_or_else(|| call.not_found(&request.name))?.object;
    let tokens = &shared.service_account_tokens;
    if asked.list_at(&["spec", "audiences"]).is_empty() {
        asked.set_at(&["spec", "audiences"], tokens.own_audiences());
    }
    let now = shared.clock.now();
    let meta = metadata::of(&mut asked);
    meta.insert("name".into(), request.name.as_str().into());
    meta.insert("namespace".into(), request.namespace.as_str().into());
    meta.insert("uid".into(), account.uid().into());
    meta.insert("creationTimestamp".into(), call.now.as_str().into());
    asked["status"] = json!({});
    check_time(&asked)?;
    admit::validate(&call, &request.name, Some(&asked), None).await?;
    let bound = bound(&call, &asked).await?;
    let wanted = asked
        .i64_at(&["spec", "expirationSeconds"])
        .unwrap_or(USUAL);
    let mut seconds = wanted;
    if let Some(longest) = tokens.longest().filter(|longest| wanted > *longest) {
        call.warnings.add(format!(
            "requested expiration of {wanted} seconds shortened to {longest} seconds"
        ));
        seconds = longest;
        asked.set_at(&["spec", "expirationSeconds"], longest);
    }
    let audiences = asked.list_at(&["spec", "audiences"]);
    let audiences: Vec<String> = audiences
        .iter()
        .filter_map(|audience| audience.as_str().map(str::to_owned))
        .collect();
    let own = tokens.own_audiences();
    let extended = tokens.extends()
        && seconds == OF_PODS
        && matches!(bound, Some(Bound::Pod(..)))
        && audiences.iter().all(|audience| own.contains(audience));
    let issued = now.as_second();
    let claims = Claims {
        issuer: tokens.issuer().to_owned(),
        audiences,
        issued,
        expires: issued.saturating_add(if extended { EXTENDED } else { seconds }),
        not_before: issued,
        id: shared.clock.uid(),
        namespace: request.namespace.clone(),
        account: reference(&account),
        bound,
        warn_after: extended.then(|| issued.saturating_add(seconds)),
    };
    let token = tokens
        .sign(&claims.to_value())
        .map_err(|error| Status::internal(&format!("failed to generate token: {error}")))?;
    let until = now.checked_add(SignedDuration::from_secs(seconds));
    asked["status"] = json!({
        "token": token,
        "expirationTimestamp": metadata::timestamp(until.unwrap_or(Timestamp::MAX)),
    });
    let bytes = encoding::encode(&asked);
    let body = transform::object(form, call.resource, &bytes, now)?;
    Ok(response::json(StatusCode::CREATED, body))
}

fn reference(object: &Value) -> Named {
    Named {
        name: object.name().to_owned(),
        uid: object.uid().to_owned(),
    }
}

fn check_name(asked: &Value, name: &str) -> Result<(), Status> {
    let given = asked.name();
    if given.is_empty() || given == name {
        return Ok(());
    }
    let mut errors = Errors::new();
    let why = "must match the service account name if specified";
    errors.invalid(Path::new("metadata").child("name"), given, why);
    Err(Status::invalid(
        &GroupKind::new(GROUP, "TokenRequest"),
        name,
        &errors,
    ))
}

fn check_time(asked: &Value) -> Result<(), Status> {
    let seconds = asked
        .i64_at(&["spec", "expirationSeconds"])
        .unwrap_or(USUAL);
    let path = Path::new("spec").child("expirationSeconds");
    let mut errors = Errors::new();
    if seconds < 600 {
        let why = "may not specify a duration less than 10 minutes";
        errors.invalid(path.clone(), seconds, why);
    }
    if seconds > 1 << 32 {
        let why = "may not specify a duration larger than 2^32 seconds";
        errors.invalid(path, seconds, why);
    }
    if errors.is_empty() {
        return Ok(());
    }
    Err(Status::invalid(
        &GroupKind::new(GROUP, "TokenRequest"),
        "",
        &errors,
    ))
}

/// What the token is to be bound to.
async fn bound(call: &Call<'_>, asked: &Value) -> Result<Option<Bound>, Status> {
    let Some(wanted) = asked
        .at(&["spec", "boundObjectRef"])
        .filter(|wanted| !wanted.is_null())
    else {
        return Ok(None);
    };
    let (kind, name) = (wanted.kind(), wanted.str_at(&["name"]));
    let version = GroupVersion::parse(wanted.api_version()).unwrap_or_default();
    let (object, bound) = match (&*version.group, kind) {
        ("", "Pod") => {
            let pod = read(call, "pods", call.namespace, name).await?;
            let account = &call.request.name;
            if pod.str_at(&["spec", "serviceAccountName"]) != account {
                return Err(Status::bad_request(format!(
                    "cannot bind token for serviceaccount {account:?} to pod running with different serviceaccount name."
                )));
            }
            let node = match pod.str_at(&["spec", "nodeName"]) {
                "" => None,
                node => Some(on_node(call, node).await?),
            };
            let bound = Bound::Pod(reference(&pod), node);
            (pod, bound)
        }
        ("", "Secret") => {
            let secret = read(call, "secrets", call.namespace, name).await?;
            let bound = Bound::Secret(reference(&secret));
            (secret, bound)
        }
        ("", "Node") => {
            let node = read(call, "nodes", "", name).await?;
            let bound = Bound::Node(reference(&node));
            (node, bound)
        }
        _ => {
            return Err(Status::bad_request(format!(
                "cannot bind token to object of type {}/{}, Kind={kind}",
                version.group, version.version
            )));
        }
    };
    let uid = wanted.str_at(&["uid"]);
    if !uid.is_empty() && uid != object.uid() {
        let why = format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
        );
        return Err(Status::conflict(&GroupResource::new("", kind), name, &why));
    }
    Ok(Some(bound))
}

/// The node that a pod runs on; without a uid when it is gone.
async fn on_node(call: &Call<'_>, name: &str) -> Result<Named, Status> {
    match read(call, "nodes", "", name).await {
        Ok(node) => Ok(reference(&node)),
        Err(status) if status.code == 404 => Ok(Named {
            name: name.to_owned(),
            uid: String::new(),
        }),
        Err(status) => Err(status),
    }
}

async fn read(call: &Call<'_>, plural: &str, namespace: &str, name: &str) -> Result<Value, Status> {
    let resource = call.shared.registry.get("", "v1", plural);
    let resource = resource.ok_or_else(Status::no_such_path)?;
    let entry = call.shared.store.get(&resource.key(namespace, name)).await;
    let entry = entry.map_err(|error| store_failure(&error))?;
    let entry = entry.ok_or_else(|| Status::not_found(&resource.group_resource(), name))?;
    Ok(Current::decode(entry)?.object)
}
