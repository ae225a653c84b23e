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
        if type_ == "NodePort" || type_ == "LoadBalancer" {
            object.default_at(&["spec", "externalTrafficPolicy"], "Cluster");
        }
        if type_ == "LoadBalancer" {
            object.default_at(&["spec", "allocateLoadBalancerNodePorts"], true);
        }
    }

    fn prepare_create(&self, _context: &Context<'_>, object: &mut Value) {
        object["status"] = json!({"loadBalancer": {}});
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
