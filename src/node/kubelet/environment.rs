//! The environment of a container: values, fields of its pod, config maps and secrets, with `$(VAR)` expanded.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{
    ConfigMap, Container, EnvVarSource, Pod, ResourceFieldSelector, Secret, Service,
};
use kube::Api;

use super::plan::all;
use crate::node::driver::NodeSpec;
use crate::object::{Quantity, Resources};

/// Where the values come from.
pub(super) struct Origin<'a> {
    pub client: &'a kube::Client,
    pub pod: &'a Pod,
    pub node: &'a NodeSpec,
    /// What the node can give out, the limit of containers that have none.
    pub allocatable: Resources,
    /// The pod's address.
    pub ip: &'a str,
    /// All services.
    pub services: Vec<Arc<Service>>,
}

/// The variables, in order.
///
/// # Errors
/// What is missing, in the words of the real kubelet.
pub(super) async fn of(
    origin: &Origin<'_>,
    container: &Container,
) -> Result<Vec<(String, String)>, String> {
    let Origin { client, pod, .. } = *origin;
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let links = pod.spec.as_ref().and_then(|spec| spec.enable_service_links);
    let mut env = services(&origin.services, namespace, links != Some(false));
    for source in container.env_from.iter().flatten() {
        let prefix = source.prefix.as_deref().unwrap_or_default();
        let mut data = BTreeMap::new();
        if let Some(wanted) = &source.config_map_ref {
            data.extend(config_map(&maps, &wanted.name, wanted.optional).await?);
        }
        if let Some(wanted) = &source.secret_ref {
            data.extend(secret(&secrets, &wanted.name, wanted.optional).await?);
        }
        for (key, value) in data {
            set(&mut env, format!("{prefix}{key}"), value);
        }
    }
    for variable in container.env.iter().flatten() {
        let value = match &variable.value_from {
            None => Some(expand(variable.value.as_deref().unwrap_or_default(), &env)),
            Some(EnvVarSource {
                field_ref: Some(field),
                ..
            }) => Some(field_of(pod, &field.field_path, origin.node, origin.ip)),
            Some(EnvVarSource {
                resource_field_ref: Some(wanted),
                ..
            }) => Some(resource_of(pod, container, wanted, &origin.allocatable)?),
            Some(EnvVarSource {
                config_map_key_ref: Some(wanted),
                ..
            }) => {
                let data = config_map(&maps, &wanted.name, wanted.optional).await?;
                let missing = || {
                    format!(
                        "couldn't find key {} in ConfigMap {namespace}/{}",
                        wanted.key, wanted.name
                    )
                };
                key(data, &wanted.key, wanted.optional, missing)?
            }
            Some(EnvVarSource {
                secret_key_ref: Some(wanted),
                ..
            }) => {
                let data = secret(&secrets, &wanted.name, wanted.optional).await?;
                let missing = || {
                    format!(
                        "couldn't find key {} in Secret {namespace}/{}",
                        wanted.key, wanted.name
                    )
                };
                key(data, &wanted.key, wanted.optional, missing)?
            }
            Some(_) => None,
        };
        if let Some(value) = value {
            set(&mut env, variable.name.clone(), value);
        }
    }
    Ok(env)
}

fn set(env: &mut Vec<(String, String)>, name: String, value: String) {
    env.retain(|(have, _)| *have != name);
    env.push((name, value));
}

fn key(
    mut data: BTreeMap<String, String>,
    key: &str,
    optional: Option<bool>,
    missing: impl Fn() -> String,
) -> Result<Option<String>, String> {
    match data.remove(key) {
        Some(value) => Ok(Some(value)),
        None if optional == Some(true) => Ok(None),
        None => Err(missing()),
    }
}

async fn config_map(
    maps: &Api<ConfigMap>,
    name: &str,
    optional: Option<bool>,
) -> Result<BTreeMap<String, String>, String> {
    match maps.get_opt(name).await {
        Ok(Some(map)) => Ok(map.data.unwrap_or_default()),
        Ok(None) if optional == Some(true) => Ok(BTreeMap::new()),
        Ok(None) => Err(format!("configmap {name:?} not found")),
        Err(error) => Err(error.to_string()),
    }
}

async fn secret(
    secrets: &Api<Secret>,
    name: &str,
    optional: Option<bool>,
) -> Result<BTreeMap<String, String>, String> {
    match secrets.get_opt(name).await {
        Ok(Some(secret)) => {
            let data = secret.data.unwrap_or_default().into_iter();
            Ok(data
                .map(|(key, value)| (key, String::from_utf8_lossy(&value.0).into_owned()))
                .collect())
        }
        Ok(None) if optional == Some(true) => Ok(BTreeMap::new()),
        Ok(None) => Err(format!("secret {name:?} not found")),
        Err(error) => Err(error.to_string()),
    }
}

/// A field of the pod, as the downward API names it.
pub(super) fn field_of(pod: &Pod, path: &str, node: &NodeSpec, ip: &str) -> String {
    let meta = &pod.metadata;
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let entry = |map: &Option<BTreeMap<String, String>>, path: &str| {
        let key = path.split('\'').nth(1).unwrap_or_default();
        map.as_ref()
            .and_then(|map| map.get(key).cloned())
            .unwrap_or_default()
    };
    match path {
        "metadata.name" => text(&meta.name),
        "metadata.namespace" => text(&meta.namespace),
        "metadata.uid" => text(&meta.uid),
        "spec.nodeName" => node.name.clone(),
        "spec.serviceAccountName" => pod
            .spec
            .as_ref()
            .map(|spec| text(&spec.service_account_name))
            .unwrap_or_default(),
        "status.hostIP" | "status.hostIPs" => node.address.clone(),
        "status.podIP" | "status.podIPs" => ip.to_owned(),
        path if path.starts_with("metadata.labels[") => entry(&meta.labels, path),
        path if path.starts_with("metadata.annotations[") => entry(&meta.annotations, path),
        _ => String::new(),
    }
}

/// A resource of a container, in whole units of the divisor, rounded up. A limit that is not set is all that the node has.
pub(super) fn resource_of(
    pod: &Pod,
    container: &Container,
    wanted: &ResourceFieldSelector,
    allocatable: &Resources,
) -> Result<String, String> {
    let named = wanted
        .container_name
        .as_deref()
        .filter(|name| !name.is_empty());
    let spec = pod.spec.as_ref();
    let container = match named {
        None => container,
        Some(name) => spec
            .into_iter()
            .flat_map(all)
            .find(|container| container.name == name)
            .ok_or_else(|| format!("container {name} not found"))?,
    };
    let unsupported = || format!("unsupported container resource : {}", wanted.resource);
    let (kind, name) = wanted.resource.split_once('.').ok_or_else(unsupported)?;
    let resources = container.resources.as_ref();
    let list = match kind {
        "limits" => resources.and_then(|resources| resources.limits.as_ref()),
        "requests" => resources.and_then(|resources| resources.requests.as_ref()),
        _ => return Err(unsupported()),
    };
    let set = list
        .and_then(|list| list.get(name))
        .and_then(|amount| Quantity::parse(&amount.0).ok());
    let in_milli = name == "cpu";
    let amount = match set {
        Some(amount) if in_milli => amount.milli_value(),
        Some(amount) => amount.value(),
        None if kind == "requests" => 0,
        None => match name {
            "cpu" => allocatable.milli_cpu,
            "memory" => allocatable.memory,
            "ephemeral-storage" => allocatable.ephemeral_storage,
            _ => 0,
        },
    };
    let divisor = wanted
        .divisor
        .as_ref()
        .and_then(|divisor| Quantity::parse(&divisor.0).ok())
        .filter(|divisor| !divisor.is_zero());
    let one = if in_milli { 1000 } else { 1 };
    let divisor = divisor.map_or(one, |divisor| {
        if in_milli {
            divisor.milli_value()
        } else {
            divisor.value()
        }
    });
    // Rounded up, without overflow.
    let units = amount / divisor + i64::from(amount % divisor > 0);
    Ok(units.to_string())
}

/// The variables by which a container finds the services of its namespace, and the API server.
fn services(services: &[Arc<Service>], namespace: &str, links: bool) -> Vec<(String, String)> {
    let mut env = Vec::new();
    for service in services {
        let meta = &service.metadata;
        let (own, name) = (
            meta.namespace.as_deref().unwrap_or_default(),
            meta.name.as_deref().unwrap_or_default(),
        );
        let is_api = own == "default" && name == "kubernetes";
        let is_linked = links && own == namespace;
        if !(is_api || is_linked) {
            continue;
        }
        let Some(spec) = &service.spec else { continue };
        let address = spec.cluster_ip.as_deref().unwrap_or_default();
        let ports = spec.ports.as_deref().unwrap_or_default();
        let Some(first) = ports.first().filter(|_| !matches!(address, "" | "None")) else {
            continue;
        };
        let word = |text: &str| text.to_uppercase().replace('-', "_");
        let prefix = word(name);
        let mut put = |name: String, value: String| set(&mut env, name, value);
        put(format!("{prefix}_SERVICE_HOST"), address.to_owned());
        put(format!("{prefix}_SERVICE_PORT"), first.port.to_string());
        for port in ports {
            if let Some(name) = port.name.as_deref().filter(|name| !name.is_empty()) {
                let name = word(name);
                put(
                    format!("{prefix}_SERVICE_PORT_{name}"),
                    port.port.to_string(),
                );
            }
        }
        // As Docker's links were.
        for (index, port) in ports.iter().enumerate() {
            let protocol = port.protocol.as_deref().unwrap_or("TCP");
            let number = port.port;
            let url = format!("{}://{address}:{number}", protocol.to_lowercase());
            if index == 0 {
                put(format!("{prefix}_PORT"), url.clone());
            }
            let of_port = format!("{prefix}_PORT_{number}_{protocol}");
            put(of_port.clone(), url);
            put(format!("{of_port}_PROTO"), protocol.to_lowercase());
            put(format!("{of_port}_PORT"), number.to_string());
            put(format!("{of_port}_ADDR"), address.to_owned());
        }
    }
    env
}

/// Replaces `$(NAME)` by what is set before; `$$(NAME)` stands for itself.
pub(super) fn expand(text: &str, env: &[(String, String)]) -> String {
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(after) = rest.strip_prefix("$$") {
            out.push('$');
            rest = after;
            continue;
        }
        let name = rest
            .strip_prefix("$(")
            .and_then(|inner| inner.find(')').map(|end| &inner[..end]));
        if let Some((name, value)) = name.and_then(|name| {
            env.iter()
                .find(|(have, _)| have == name)
                .map(|(_, value)| (name, value))
        }) {
            out.push_str(value);
            rest = &rest[name.len() + 3..];
        } else {
            out.push('$');
            rest = &rest[1..];
        }
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expansion() {
        let env = [("A".to_owned(), "1".to_owned())];
        for (text, expanded) in [
            ("$(A)", "1"),
            ("x$(A)y", "x1y"),
            ("$$(A)", "$(A)"),
            ("$(B)", "$(B)"),
            ("$", "$"),
            ("$(A", "$(A"),
            ("", ""),
        ] {
            assert_eq!(expand(text, &env), expanded);
        }
    }

    #[test]
    fn resources_in_units_of_the_divisor() {
        let pod: Pod = serde_json::from_value(serde_json::json!({"spec": {"containers": [
            {"name": "a", "resources": {"limits": {"cpu": "1500m"}, "requests": {"cpu": "250m", "memory": "100M"}}},
            {"name": "b"},
        ]}}))
        .unwrap();
        let container = &pod.spec.as_ref().unwrap().containers[0];
        let node = Resources {
            milli_cpu: 4000,
            memory: 16 << 30,
            ..Resources::default()
        };
        for (selector, expected) in [
            (serde_json::json!({"resource": "limits.cpu"}), "2"),
            (
                serde_json::json!({"resource": "limits.cpu", "divisor": "1m"}),
                "1500",
            ),
            (
                serde_json::json!({"resource": "requests.cpu", "divisor": "0"}),
                "1",
            ),
            (
                serde_json::json!({"resource": "requests.memory", "divisor": "1Mi"}),
                "96",
            ),
            (
                serde_json::json!({"resource": "limits.memory"}),
                "17179869184",
            ),
            (
                serde_json::json!({"resource": "limits.cpu", "containerName": "b"}),
                "4",
            ),
            (
                serde_json::json!({"resource": "requests.cpu", "containerName": "b"}),
                "0",
            ),
        ] {
            let wanted: ResourceFieldSelector = serde_json::from_value(selector.clone()).unwrap();
            assert_eq!(
                resource_of(&pod, container, &wanted, &node).unwrap(),
                expected,
                "{selector}"
            );
        }
        let wrong = ResourceFieldSelector {
            resource: "weights.cpu".into(),
            ..ResourceFieldSelector::default()
        };
        assert!(resource_of(&pod, container, &wrong, &node).is_err());
    }

    #[test]
    fn services_are_found_by_variables() {
        let service = |namespace: &str, name: &str, ip: &str| {
            let service = serde_json::json!({
                "metadata": {"namespace": namespace, "name": name},
                "spec": {"clusterIP": ip, "ports": [{"name": "http", "port": 80}, {"port": 53, "protocol": "UDP"}]},
            });
            Arc::new(serde_json::from_value(service).unwrap())
        };
        let all = [
            service("default", "kubernetes", "10.96.0.1"),
            service("ns", "my-web", "10.96.0.2"),
            service("ns", "headless", "None"),
            service("other", "far", "10.96.0.3"),
        ];
        let env = services(&all, "ns", true);
        let get = |name: &str| {
            env.iter()
                .find(|(have, _)| have == name)
                .map(|(_, value)| value.as_str())
        };
        for (name, value) in [
            ("KUBERNETES_SERVICE_HOST", "10.96.0.1"),
            ("MY_WEB_SERVICE_PORT_HTTP", "80"),
            ("MY_WEB_PORT", "tcp://10.96.0.2:80"),
            ("MY_WEB_PORT_53_UDP_ADDR", "10.96.0.2"),
            ("MY_WEB_PORT_53_UDP_PROTO", "udp"),
        ] {
            assert_eq!(get(name), Some(value), "{name}");
        }
        assert!(get("HEADLESS_SERVICE_HOST").is_none() && get("FAR_SERVICE_HOST").is_none());
        assert!(
            services(&all, "ns", false)
                .iter()
                .all(|(name, _)| name.starts_with("KUBERNETES"))
        );
    }
}
