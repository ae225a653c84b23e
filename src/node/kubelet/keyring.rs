//! Which credentials are good for which image: those of pull secrets, by registry and path. Pure.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::Secret;
use serde::Deserialize;

use crate::cri::ImageAuth;

/// The registry of images that name none, and as credentials name it.
const DEFAULT_REGISTRY: &str = "docker.io";
const DEFAULT_KEY: &str = "index.docker.io";

/// Credentials by what they are for: a registry, with a path or without, its parts with `*`.
#[derive(Debug, Default)]
pub(super) struct Keyring(BTreeMap<String, Vec<ImageAuth>>);

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    auth: String,
}

impl Keyring {
    /// That of these secrets; what is no list of credentials is left out.
    pub(super) fn of(secrets: &[Secret]) -> Self {
        let mut ring = Self::default();
        for secret in secrets {
            for (registry, entry) in entries(secret).into_iter().flatten() {
                let Some((username, password)) = pair(entry) else {
                    continue;
                };
                let auth = ImageAuth {
                    username,
                    password,
                    ..ImageAuth::default()
                };
                let all = ring.0.entry(normal(&registry)).or_default();
                if !all.contains(&auth) {
                    all.push(auth);
                }
            }
        }
        ring
    }

    /// The credentials for an image, the most special first.
    pub(super) fn lookup(&self, image: &str) -> Vec<ImageAuth> {
        let target = with_registry(image);
        let matching = self.0.iter().rev().filter(|(key, _)| fits(key, &target));
        let mut found: Vec<ImageAuth> = matching.flat_map(|(_, auths)| auths).cloned().collect();
        let by_default = target
            .starts_with("docker.io/")
            .then(|| self.0.get(DEFAULT_KEY));
        if found.is_empty()
            && let Some(auths) = by_default.flatten()
        {
            found.clone_from(auths);
        }
        found
    }
}

/// The entries of a secret, in either of the two forms.
fn entries(secret: &Secret) -> Option<BTreeMap<String, Entry>> {
    let data = secret.data.as_ref()?;
    match secret.type_.as_deref() {
        Some("kubernetes.io/dockerconfigjson") => {
            let config: Config = serde_json::from_slice(&data.get(".dockerconfigjson")?.0).ok()?;
            Some(config.auths)
        }
        Some("kubernetes.io/dockercfg") => serde_json::from_slice(&data.get(".dockercfg")?.0).ok(),
        _ => None,
    }
}

/// User and password: given as `auth` they count before those given plainly.
fn pair(entry: Entry) -> Option<(String, String)> {
    if entry.auth.is_empty() {
        return Some((entry.username, entry.password));
    }
    // With and without its padding.
    let text = entry.auth.trim_end_matches('=');
    let padding = "=".repeat((4 - text.len() % 4) % 4);
    let bytes = STANDARD.decode(format!("{text}{padding}")).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (username, password) = text.split_once(':')?;
    Some((username.to_owned(), password.to_owned()))
}

/// A registry without its scheme; of an address of its interface (`/v1/`, `/v2/`) only the host.
fn normal(registry: &str) -> String {
    let bare = registry
        .strip_prefix("https://")
        .or_else(|| registry.strip_prefix("http://"))
        .unwrap_or(registry);
    let (host, path) = bare.split_once('/').unwrap_or((bare, ""));
    let path = path.trim_end_matches('/');
    let is_interface = |version: &str| {
        let rest = path.strip_prefix(version);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    if path.is_empty() || is_interface("v1") || is_interface("v2") {
        host.to_owned()
    } else {
        format!("{host}/{path}")
    }
}

/// An image with its registry, without tag and digest.
fn with_registry(image: &str) -> String {
    let image = image.split('@').next().unwrap_or(image);
    let named = match image.rsplit_once(':') {
        // The last colon may be that of the registry's port.
        Some((name, tag)) if !tag.contains('/') => name,
        _ => image,
    };
    let first = named.split_once('/').map(|(first, _)| first);
    let is_registry = |first: &&str| {
        first.contains(['.', ':']) || *first == "localhost" || first.to_lowercase() != **first
    };
    match first.filter(is_registry) {
        Some(DEFAULT_KEY) => named.replacen(DEFAULT_KEY, DEFAULT_REGISTRY, 1),
        Some(_) => named.to_owned(),
        None if named.contains('/') => format!("{DEFAULT_REGISTRY}/{named}"),
        None => format!("{DEFAULT_REGISTRY}/library/{named}"),
    }
}

/// Whether credentials for `key` are for the image: every part of the host fits, the port is the same, and the path begins so.
fn fits(key: &str, image: &str) -> bool {
    let split = |text: &str| -> (String, String, String) {
        let (host, path) = text.split_once('/').unwrap_or((text, ""));
        let (name, port) = host.split_once(':').unwrap_or((host, ""));
        (name.to_owned(), port.to_owned(), path.to_owned())
    };
    let ((key_host, key_port, key_path), (host, port, path)) = (split(key), split(image));
    let (key_parts, parts): (Vec<&str>, Vec<&str>) =
        (key_host.split('.').collect(), host.split('.').collect());
    key_port == port
        && key_parts.len() == parts.len()
        && path.starts_with(&key_path)
        && key_parts
            .iter()
            .zip(&parts)
            .all(|(key, part)| glob(key, part))
}

/// Whether a text fits a pattern in which `*` stands for any text.
fn glob(pattern: &str, text: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(text) = text.strip_prefix(start) else {
        return false;
    };
    let ends = text.char_indices().map(|(at, _)| at).chain([text.len()]);
    ends.into_iter()
        .any(|at| text.get(at..).is_some_and(|text| glob(rest, text)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn secret(type_: &str, key: &str, value: &serde_json::Value) -> Secret {
        let data = STANDARD.encode(value.to_string());
        let secret = json!({"type": format!("kubernetes.io/{type_}"), "data": {key: data}});
        serde_json::from_value(secret).unwrap()
    }

    fn config(auths: serde_json::Value) -> Secret {
        secret(
            "dockerconfigjson",
            ".dockerconfigjson",
            &json!({"auths": auths}),
        )
    }

    #[test]
    fn keys_and_images() {
        for (key, image, good) in [
            ("registry.example", "registry.example/a/b:v1", true),
            (
                "https://registry.example",
                "registry.example/a@sha256:00",
                true,
            ),
            ("https://registry.example/v2/", "registry.example/a", true),
            ("registry.example/team", "registry.example/team/a", true),
            ("registry.example/team", "registry.example/other/a", false),
            ("registry.example:5000", "registry.example:5000/a:v1", true),
            ("registry.example", "registry.example:5000/a", false),
            ("registry.example:5000", "registry.example/a", false),
            ("localhost:5000", "localhost:5000/a", true),
            ("*.example", "registry.example/a", true),
            ("*.example", "a.b.example/a", false),
            ("reg*.example", "registry.example/a", true),
            ("*", "registry.example/a", false),
            ("https://index.docker.io/v1/", "busybox", true),
            ("https://index.docker.io/v1/", "team/app:v1", true),
            ("docker.io/team", "team/app:v1", true),
            ("docker.io/team", "busybox", false),
            ("https://index.docker.io/v1/", "registry.example/a", false),
            ("other.example", "registry.example/a", false),
        ] {
            let ring = Keyring::of(&[config(json!({key: {"username": "u", "password": "p"}}))]);
            assert_eq!(!ring.lookup(image).is_empty(), good, "{key} {image}");
        }
    }

    #[test]
    fn forms_of_credentials() {
        let auth = STANDARD.encode("user:pass:word");
        for (secret, expected) in [
            (
                config(json!({"r.example": {"username": "u", "password": "p"}})),
                Some(("u", "p")),
            ),
            (
                config(json!({"r.example": {"auth": auth}})),
                Some(("user", "pass:word")),
            ),
            (
                config(json!({"r.example": {"auth": auth.trim_end_matches('='), "username": "x"}})),
                Some(("user", "pass:word")),
            ),
            (
                secret(
                    "dockercfg",
                    ".dockercfg",
                    &json!({"r.example": {"auth": auth}}),
                ),
                Some(("user", "pass:word")),
            ),
            (config(json!({"r.example": {"auth": "*"}})), None),
            (config(json!("nonsense")), None),
            (secret("opaque", ".dockercfg", &json!({})), None),
        ] {
            let found = Keyring::of(&[secret]).lookup("r.example/a");
            let found = found.first().map(|auth| (&*auth.username, &*auth.password));
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn the_most_special_comes_first_and_none_twice() {
        let of = |user: &str| json!({"username": user, "password": "p"});
        let one = config(
            json!({"r.example": of("all"), "r.example/a": of("a"), "r.example/a/b": of("b")}),
        );
        let two = config(json!({"r.example/a": of("a"), "https://r.example": of("more")}));
        let users: Vec<String> = Keyring::of(&[one, two])
            .lookup("r.example/a/b:v1")
            .into_iter()
            .map(|auth| auth.username)
            .collect();
        assert_eq!(users, ["b", "a", "all", "more"]);
    }
}
