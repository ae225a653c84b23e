//! Service. Cluster IPs and node ports are given out by the allocators; here is what the object itself must be.

mod addresses;
mod change;
mod validate;

pub(crate) use self::addresses::validate as validate_addresses;

use serde_json::{Value, json};

use crate::apiserver::kinds::networking::balancer_warnings;
use crate::apiserver::kinds::{ip, names};
use crate::apiserver::registry::strategy::{Context, Strategy};
use crate::object::Document;
use crate::object::field::{Errors, Path};

#[derive(Debug)]
pub(in crate::apiserver::kinds) struct Service;

/// How long a client stays with an endpoint unless told otherwise, in seconds.
const AFFINITY_SECONDS: i64 = 10800;
const TIMEOUT: [&str; 4] = [
    "spec",
    "sessionAffinityConfig",
    "clientIP",
    "timeoutSeconds",
];
/// The annotation for topology that another has replaced, and the newer one.
const TOPOLOGY_HINTS: &str = "service.kubernetes.io/topology-aware-hints";
const TOPOLOGY_MODE: &str = "service.kubernetes.io/topology-mode";

impl Strategy for Service {
    fn default(&self, object: &mut Value) {
        default_text(object, "sessionAffinity", "None");
        default_text(object, "type", "ClusterIP");
        match object.str_at(&["spec", "sessionAffinity"]) {
            "None" => {
                object.remove_at(&["spec", "sessionAffinityConfig"]);
            }
            "ClientIP" if object.i64_at(&TIMEOUT).is_none() => {
                let config = json!({ "clientIP": { "timeoutSeconds": AFFINITY_SECONDS } });
                object.set_at(&["spec", "sessionAffinityConfig"], config);
            }
            _ => {}
        }
        let ports = object
            .at_mut(&["spec", "ports"])
            .and_then(Value::as_array_mut);
        for port in ports.into_iter().flatten() {
            if port.str_at(&["protocol"]).is_empty() {
                port.set_at(&["protocol"], "TCP");
            }
            let number = port.get("port").cloned().unwrap_or(Value::Null);
            let target = port.get("targetPort");
            if target.is_none_or(|target| target.is_null() || target == 0 || target == "") {
                port.set_at(&["targetPort"], number);
            }
        }
        if is_reached_from_outside(object) {
            default_text(object, "externalTrafficPolicy", "Cluster");
        }
        if matches!(type_of(object), "ClusterIP" | "NodePort" | "LoadBalancer") {
            object.default_at(&["spec", "internalTrafficPolicy"], "Cluster");
        }
        if is_balanced(object) {
            object.default_at(&["spec", "allocateLoadBalancerNodePorts"], true);
            let points = object
                .at_mut(&["status", "loadBalancer", "ingress"])
                .and_then(Value::as_array_mut);
            for point in points.into_iter().flatten() {
                if !point.str_at(&["ip"]).is_empty() {
                    point.default_at(&["ipMode"], "VIP");
                }
            }
        }
    }

    fn prepare_create(&self, _context: &Context<'_>, object: &mut Value) {
        object["status"] = json!({ "loadBalancer": {} });
        drop_internal_policy(object);
    }

    fn prepare_update(&self, context: &Context<'_>, object: &mut Value, old: &Value) {
        if context.subresource.is_none() {
            object["status"] = old.get("status").cloned().unwrap_or_default();
            change::drop_what_the_type_had(object, old);
        }
        drop_internal_policy(object);
    }

    fn validate(&self, _context: &Context<'_>, object: &Value, errors: &mut Errors) {
        validate::spec(object, None, errors);
    }

    fn validate_update(
        &self,
        context: &Context<'_>,
        object: &Value,
        old: &Value,
        errors: &mut Errors,
    ) {
        if context.subresource.is_some() {
            validate::status(object, old, errors);
        } else {
            change::validate(object, old, errors);
            validate::spec(object, Some(old), errors);
        }
    }

    fn warnings(&self, object: &Value, _old: Option<&Value>) -> Vec<String> {
        warnings(object)
    }

    fn status_warnings(&self, object: &Value) -> Vec<String> {
        balancer_warnings(object)
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }

    /// Since 1.34 a service may be named as any DNS label.
    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        names::dns_label(name, prefix)
    }

    fn selectable_fields(&self) -> &[&str] {
        &["spec.clusterIP", "spec.type"]
    }

    fn field(&self, object: &Value, field: &str) -> String {
        object
            .str_at(&field.split('.').collect::<Vec<_>>())
            .to_owned()
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }

    fn has_generation(&self) -> bool {
        false
    }
}

fn default_text(object: &mut Value, field: &str, text: &str) {
    if object.str_at(&["spec", field]).is_empty() {
        object.set_at(&["spec", field], text);
    }
}

/// An external name has no use for the policy; a wrong one is left for validation to refuse.
fn drop_internal_policy(service: &mut Value) {
    let policy = ["spec", "internalTrafficPolicy"];
    if is_external(service) && validate::POLICIES.contains(&service.str_at(&policy)) {
        service.remove_at(&policy);
    }
}

fn type_of(service: &Value) -> &str {
    service.str_at(&["spec", "type"])
}

fn is_external(service: &Value) -> bool {
    type_of(service) == "ExternalName"
}

fn is_balanced(service: &Value) -> bool {
    type_of(service) == "LoadBalancer"
}

fn has_node_ports(service: &Value) -> bool {
    matches!(type_of(service), "NodePort" | "LoadBalancer")
}

fn has_health_port(service: &Value) -> bool {
    is_balanced(service) && service.str_at(&["spec", "externalTrafficPolicy"]) == "Local"
}

fn is_headless(service: &Value) -> bool {
    addresses::listed(service) == ["None"]
}

/// Whether traffic from outside the cluster reaches the service.
fn is_reached_from_outside(service: &Value) -> bool {
    has_node_ports(service)
        || type_of(service) == "ClusterIP" && !service.list_at(&["spec", "externalIPs"]).is_empty()
}

fn warnings(service: &Value) -> Vec<String> {
    let mut warnings = Vec::new();
    let spec = service.get("spec").unwrap_or(&Value::Null);
    let path = Path::new("spec");
    if service.annotation(TOPOLOGY_HINTS).is_some() {
        warnings.push(format!(
            "annotation {TOPOLOGY_HINTS} is deprecated, please use {TOPOLOGY_MODE} instead"
        ));
    }
    let headless = type_of(service) == "ClusterIP" && spec.str_at(&["clusterIP"]) == "None";
    let texts = |field: &str| -> Vec<&str> {
        let items = spec.list_at(&[field]).iter();
        items.filter_map(Value::as_str).collect()
    };
    let external = texts("externalIPs");
    let balancer = spec.str_at(&["loadBalancerIP"]);
    if headless {
        for (given, field) in [
            (!balancer.is_empty(), "loadBalancerIP"),
            (!external.is_empty(), "externalIPs"),
            (
                spec.str_at(&["sessionAffinity"]) != "None",
                "SessionAffinity",
            ),
        ] {
            if given {
                warnings.push(format!("spec.{field} is ignored for headless services"));
            }
        }
    } else {
        for (index, address) in texts("clusterIPs").into_iter().enumerate() {
            let at = path.child("clusterIPs").index(index);
            warnings.extend(ip::address_warning(&at, address));
        }
    }
    for (index, address) in external.iter().enumerate() {
        let at = path.child("externalIPs").index(index);
        warnings.extend(ip::address_warning(&at, address));
    }
    if !external.is_empty() && !headless && !is_external(service) {
        warnings.push(
            "spec.externalIPs is deprecated and may no longer be implemented in some clusters"
                .to_owned(),
        );
    }
    warnings.extend(ip::address_warning(&path.child("loadBalancerIP"), balancer));
    for (index, range) in texts("loadBalancerSourceRanges").into_iter().enumerate() {
        let at = path.child("loadBalancerSourceRanges").index(index);
        warnings.extend(ip::cidr_warnings(&at, range));
    }
    if is_external(service) && !external.is_empty() {
        let what = "spec.externalIPs is ignored when spec.type is \"ExternalName\"";
        warnings.push(what.to_owned());
    }
    if !is_external(service) && !spec.str_at(&["externalName"]).is_empty() {
        let what = "spec.externalName is ignored when spec.type is not \"ExternalName\"";
        warnings.push(what.to_owned());
    }
    if spec.str_at(&["trafficDistribution"]) == "PreferClose" {
        warnings.push(
            "spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\""
                .to_owned(),
        );
    }
    warnings
}

#[cfg(test)]
mod tests;
