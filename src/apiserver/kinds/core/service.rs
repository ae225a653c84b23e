//! Service. Cluster IPs and node ports are given out by the allocators; here is what the object itself must be.

use serde_json::{Value, json};

use crate::apiserver::kinds::{check, names};
use crate::apiserver::registry::strategy::{Context, Strategy};
use crate::object::field::{Errors, Path};
use crate::object::{Document, name};

#[derive(Debug)]
pub(in crate::apiserver::kinds) struct Service;

const TYPES: [&str; 4] = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];

impl Strategy for Service {
    fn default(&self, object: &mut Value) {
        object.default_at(&["spec", "sessionAffinity"], "None");
        object.default_at(&["spec", "type"], "ClusterIP");
        if object.str_at(&["spec", "sessionAffinity"]) == "ClientIP" {
            object.default_at(
                &[
                    "spec",
                    "sessionAffinityConfig",
                    "clientIP",
                    "timeoutSeconds",
                ],
                10800,
            );
        }
        let type_ = object.str_at(&["spec", "type"]).to_owned();
        for port in object
            .at_mut(&["spec", "ports"])
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            port.default_at(&["protocol"], "TCP");
            let number = port.get("port").cloned().unwrap_or(Value::Null);
            let target = port.get("targetPort");
            if target.is_none_or(|target| target.is_null() || target == 0 || target == "") {
                port["targetPort"] = number;
            }
        }
        if type_ != "ExternalName" {
            object.default_at(&["spec", "internalTrafficPolicy"], "Cluster");
        }
        if has_outside(object) {
            object.default_at(&["spec", "externalTrafficPolicy"], "Cluster");
        }
        if type_ == "LoadBalancer" {
            object.default_at(&["spec", "allocateLoadBalancerNodePorts"], true);
        }
    }

    fn prepare_create(&self, _context: &Context<'_>, object: &mut Value) {
        object["status"] = json!({"loadBalancer": {}});
    }

    fn prepare_update(&self, context: &Context<'_>, object: &mut Value, old: &Value) {
        if context.subresource.is_none() {
            object["status"] = old["status"].clone();
            drop_what_the_type_had(object, old);
        }
    }

    fn validate(&self, _context: &Context<'_>, object: &Value, errors: &mut Errors) {
        let path = Path::new("spec");
        let Some(spec) = object.get("spec") else {
            errors.required(path.child("ports"), "");
            return;
        };
        let (type_, headless) = (
            spec.str_at(&["type"]),
            spec.str_at(&["clusterIP"]) == "None",
        );
        let ports = spec.list_at(&["ports"]);
        if ports.is_empty() && !headless && type_ != "ExternalName" {
            errors.required(path.child("ports"), "");
        }
        let mut seen: Vec<(&str, &str, Option<i64>)> = Vec::new();
        for (index, port) in ports.iter().enumerate() {
            let at = path.child("ports").index(index);
            let entry = (
                port.str_at(&["name"]),
                port.str_at(&["protocol"]),
                port.i64_at(&["port"]),
            );
            if entry.0.is_empty() && ports.len() > 1 {
                errors.required(at.child("name"), "");
            } else if !entry.0.is_empty() {
                check::problems(entry.0, name::dns_label(entry.0), &at.child("name"), errors);
                if seen.iter().any(|(name, ..)| *name == entry.0) {
                    errors.duplicate(at.child("name"), entry.0);
                }
            }
            check::port(Some(entry.2.unwrap_or(0)), &at.child("port"), errors);
            check::required_one_of(port, "protocol", &PROTOCOLS, &at, errors);
            if let Some(target) = port.i64_at(&["targetPort"]) {
                check::port(Some(target), &at.child("targetPort"), errors);
            }
            if seen
                .iter()
                .any(|(_, protocol, number)| (*protocol, *number) == (entry.1, entry.2))
            {
                errors.duplicate(at, json!({"port": entry.2, "protocol": entry.1}));
            }
            seen.push(entry);
        }
        check::labels(spec.get("selector"), &path.child("selector"), errors);
        check::required_one_of(
            spec,
            "sessionAffinity",
            &["ClientIP", "None"],
            &path,
            errors,
        );
        check::required_one_of(spec, "type", &TYPES, &path, errors);
        if type_ == "ExternalName" {
            let external = spec.str_at(&["externalName"]).trim_end_matches('.');
            if external.is_empty() {
                errors.required(path.child("externalName"), "");
            } else {
                check::problems(
                    external,
                    name::dns_subdomain(external),
                    &path.child("externalName"),
                    errors,
                );
            }
        }
        let listed = spec.list_at(&["clusterIPs"]);
        let (first, one) = (
            listed.first().and_then(Value::as_str),
            spec.str_at(&["clusterIP"]),
        );
        if first.is_some_and(|first| first != one) {
            let why = if one.is_empty() {
                "must be empty when `clusterIP` is not specified"
            } else {
                "first value must match `clusterIP`"
            };
            errors.invalid(path.child("clusterIPs"), listed.to_vec(), why);
        }
        if type_ == "LoadBalancer" && headless {
            errors.invalid(
                path.child("clusterIPs").index(0),
                "None",
                "may not be set to 'None' for LoadBalancer services",
            );
        }
    }

    fn validate_update(
        &self,
        context: &Context<'_>,
        object: &Value,
        old: &Value,
        errors: &mut Errors,
    ) {
        let (type_, before) = (
            object.str_at(&["spec", "type"]),
            old.str_at(&["spec", "type"]),
        );
        if type_ != "ExternalName" && before != "ExternalName" && context.subresource.is_none() {
            let (ip, was) = (
                object.str_at(&["spec", "clusterIP"]),
                old.str_at(&["spec", "clusterIP"]),
            );
            if !was.is_empty() && ip != was {
                let shown = json!([ip]);
                errors.invalid(
                    Path::new("spec").child("clusterIPs").index(0),
                    shown,
                    "may not change once set",
                );
            }
        }
        if context.subresource.is_none() {
            self.validate(context, object, errors);
        }
    }

    fn warnings(&self, object: &Value, _old: Option<&Value>) -> Vec<String> {
        let mut warnings = Vec::new();
        if !object.list_at(&["spec", "externalIPs"]).is_empty() {
            warnings.push(
                "spec.externalIPs is deprecated and may no longer be implemented in some clusters"
                    .to_owned(),
            );
        }
        let external = object.str_at(&["spec", "externalName"]);
        if !external.is_empty() && object.str_at(&["spec", "type"]) != "ExternalName" {
            warnings.push(
                "spec.externalName is ignored when spec.type is not \"ExternalName\"".to_owned(),
            );
        }
        warnings
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
/// Whether traffic from outside the cluster reaches the service.
fn has_outside(service: &Value) -> bool {
    matches!(
        service.str_at(&["spec", "type"]),
        "NodePort" | "LoadBalancer"
    ) || !service.list_at(&["spec", "externalIPs"]).is_empty()
}

/// A change of type takes along what only the old type had, unless the client changed it.
fn drop_what_the_type_had(service: &mut Value, old: &Value) {
    fn inside(service: &Value) -> bool {
        service.str_at(&["spec", "type"]) != "ExternalName"
    }
    fn is_balanced(service: &Value) -> bool {
        service.str_at(&["spec", "type"]) == "LoadBalancer"
    }
    fn has_node_ports(service: &Value) -> bool {
        matches!(
            service.str_at(&["spec", "type"]),
            "NodePort" | "LoadBalancer"
        )
    }
    fn has_health_port(service: &Value) -> bool {
        is_balanced(service) && service.str_at(&["spec", "externalTrafficPolicy"]) == "Local"
    }
    /// What a service must be, and the fields that only such services have.
    type Rule = (fn(&Value) -> bool, &'static [&'static str]);
    let rules: [Rule; 4] = [
        (
            inside,
            &[
                "clusterIP",
                "clusterIPs",
                "ipFamilies",
                "ipFamilyPolicy",
                "internalTrafficPolicy",
            ],
        ),
        (has_health_port, &["healthCheckNodePort"]),
        (
            is_balanced,
            &["allocateLoadBalancerNodePorts", "loadBalancerClass"],
        ),
        (has_outside, &["externalTrafficPolicy"]),
    ];
    let dropped: Vec<&str> = rules
        .iter()
        .filter(|(has, _)| has(old) && !has(service))
        .flat_map(|(_, fields)| fields.iter().copied())
        .filter(|field| service.at(&["spec", field]) == old.at(&["spec", field]))
        .collect();
    let numbers = |service: &Value| -> Vec<Option<i64>> {
        service
            .list_at(&["spec", "ports"])
            .iter()
            .map(|port| port.i64_at(&["nodePort"]))
            .collect()
    };
    if has_node_ports(old) && !has_node_ports(service) && numbers(service) == numbers(old) {
        let ports = service
            .at_mut(&["spec", "ports"])
            .and_then(Value::as_array_mut);
        for port in ports.into_iter().flatten().filter_map(Value::as_object_mut) {
            port.remove("nodePort");
        }
    }
    for field in dropped {
        service.remove_at(&["spec", field]);
    }
}
