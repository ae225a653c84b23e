//! The environment of a container: values, fields of its pod, config maps and secrets, with `$(VAR)` expanded.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, Container, EnvVarSource, Pod, Secret};
use kube::Api;

use crate::node::driver::NodeSpec;

/// The variables, in order.
///
/// # Errors
/// What is missing, in the words of the real kubelet.
pub(super) async fn of(
    client: &kube::Client,
    pod: &Pod,
    container: &Container,
    node: &NodeSpec,
    ip: &str,
) -> Result<Vec<(String, String)>, String> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let mut env: Vec<(String, String)> = Vec::new();
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
            }) => Some(field_of(pod, &field.field_path, node, ip)),
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
fn field_of(pod: &Pod, path: &str, node: &NodeSpec, ip: &str) -> String {
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

/// Replaces `$(NAME)` by what is set before; `$$(NAME)` stands for itself.
fn expand(text: &str, env: &[(String, String)]) -> String {
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
}
