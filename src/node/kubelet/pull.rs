//! Having an image: by its policy, with the credentials of the pod's secrets, under a name that is one.

use k8s_openapi::api::core::v1::{Container as Spec, Pod, Secret};
use kube::Api;
use tokio::time::Instant;

use super::Inner;
use super::keyring::Keyring;
use super::plan::Failure;
use super::start::{failure, go_duration};
use super::volumes::Images;
use crate::cri::{Image, ImageSpec, SandboxConfig};
use crate::reconcile::events::EventType;

/// The longest name of a repository.
const LONGEST_NAME: usize = 255;

impl Inner {
    /// Makes sure that the volumes of a container that are images are present.
    pub(super) async fn image_volumes(
        &self,
        pod: &Pod,
        container: &Spec,
        sandbox: &SandboxConfig,
    ) -> Result<Images, Failure> {
        let mut found = Images::new();
        let volumes = pod
            .spec
            .iter()
            .flat_map(|spec| spec.volumes.iter().flatten());
        for volume in volumes {
            let Some(source) = &volume.image else {
                continue;
            };
            let mut mounts = container.volume_mounts.iter().flatten();
            if !mounts.any(|mount| mount.name == volume.name) {
                continue;
            }
            let image = source.reference.clone().unwrap_or_default();
            let policy = source.pull_policy.as_deref();
            self.image(pod, &image, policy, sandbox).await?;
            found.insert(volume.name.clone(), of_handler(&image, sandbox));
        }
        Ok(found)
    }

    /// Makes sure that an image is present; gives what is known of it.
    pub(super) async fn image(
        &self,
        pod: &Pod,
        image: &str,
        policy: Option<&str>,
        sandbox: &SandboxConfig,
    ) -> Result<Option<Image>, Failure> {
        let tell = |type_, reason, message| self.event(pod, type_, reason, message);
        if let Err(why) = check_name(image) {
            let message = format!(
                "Failed to apply default image tag {image:?}: couldn't parse image name {image:?}: {why}"
            );
            tell(EventType::Warning, "InspectFailed", message.clone());
            return Err(failure("InvalidImageName", message));
        }
        let spec = of_handler(image, sandbox);
        let look = async || {
            let found = self.runtime.image_status(&spec).await;
            found.map_err(|error| {
                let message = format!("Failed to inspect image {image:?}: {error}");
                tell(EventType::Warning, "InspectFailed", message.clone());
                failure("ImageInspectError", message)
            })
        };
        let present = look().await?;
        match (policy.unwrap_or("IfNotPresent"), &present) {
            ("Never", None) => {
                let message =
                    format!("Container image {image:?} is not present with pull policy of Never");
                tell(EventType::Warning, "ErrImageNeverPull", message.clone());
                Err(failure("ErrImageNeverPull", message))
            }
            ("Always", _) | (_, None) => {
                let keyring = self.keyring(pod).await;
                tell(
                    EventType::Normal,
                    "Pulling",
                    format!("Pulling image {image:?}"),
                );
                let begun = Instant::now();
                if let Err(why) = self.pull(&spec, &keyring, sandbox).await {
                    let message = format!("Failed to pull image {image:?}: {why}");
                    tell(EventType::Warning, "Failed", message);
                    return Err(Failure {
                        image: image.to_owned(),
                        ..failure("ErrImagePull", why)
                    });
                }
                let took = go_duration(begun.elapsed());
                let pulled = look().await?;
                let size = pulled.as_ref().map_or(0, |image| image.size);
                let message = format!(
                    "Successfully pulled image {image:?} in {took} ({took} including waiting). Image size: {size} bytes."
                );
                tell(EventType::Normal, "Pulled", message);
                Ok(pulled)
            }
            _ => {
                let message = format!(
                    "Container image {image:?} already present on machine and can be accessed by the pod"
                );
                tell(EventType::Normal, "Pulled", message);
                Ok(present)
            }
        }
    }

    /// Pulls with each of the credentials that are for the image until one is good; without any when there are none.
    async fn pull(
        &self,
        image: &ImageSpec,
        keyring: &Keyring,
        sandbox: &SandboxConfig,
    ) -> Result<(), String> {
        let auths = keyring.lookup(&image.image);
        let auths = if auths.is_empty() {
            vec![None]
        } else {
            auths.into_iter().map(Some).collect()
        };
        let mut reasons: Vec<String> = Vec::new();
        for auth in auths {
            let pulled = self.runtime.pull_image(image, auth.as_ref(), Some(sandbox));
            match pulled.await {
                Ok(_) => return Ok(()),
                Err(error) => {
                    let why = error.to_string();
                    if !reasons.contains(&why) {
                        reasons.push(why);
                    }
                }
            }
        }
        Err(match reasons.as_slice() {
            [only] => only.clone(),
            several => format!("[{}]", several.join(", ")),
        })
    }

    /// The credentials of the pod's secrets; tells of those that are missing.
    async fn keyring(&self, pod: &Pod) -> Keyring {
        let named = pod
            .spec
            .iter()
            .flat_map(|spec| spec.image_pull_secrets.iter().flatten());
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let api: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        let (mut found, mut missing) = (Vec::new(), Vec::new());
        for reference in named.filter(|reference| !reference.name.is_empty()) {
            match api.get(&reference.name).await {
                Ok(secret) => found.push(secret),
                Err(error) => {
                    tracing::debug!(%error, secret = %reference.name, "a pull secret is missing");
                    missing.push(reference.name.as_str());
                }
            }
        }
        if !missing.is_empty() {
            let message = format!(
                "Unable to retrieve some image pull secrets ({}); attempting to pull the image may not succeed.",
                missing.join(", ")
            );
            self.event(
                pod,
                EventType::Warning,
                "FailedToRetrieveImagePullSecret",
                message,
            );
        }
        Keyring::of(&found)
    }
}

/// An image, for the runtime handler of a pod.
fn of_handler(image: &str, sandbox: &SandboxConfig) -> ImageSpec {
    ImageSpec {
        runtime_handler: sandbox.runtime_handler.clone(),
        ..image.into()
    }
}

/// Whether a text names an image: `[registry/]path[:tag][@digest]`.
///
/// # Errors
/// Why not, in the words of the reference grammar's reader.
fn check_name(image: &str) -> Result<(), String> {
    let invalid = || "invalid reference format".to_owned();
    let is_hex = |text: &str| {
        text.bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    if image.len() == 64 && is_hex(image) {
        return Err(format!(
            "invalid repository name ({image}), cannot specify 64-byte hexadecimal strings"
        ));
    }
    let (registry, rest) = match image.split_once('/') {
        Some((first, rest))
            if first.contains(['.', ':'])
                || first == "localhost"
                || first.to_lowercase() != first =>
        {
            (Some(first), rest.to_owned())
        }
        Some(_) => (None, image.to_owned()),
        None => (None, format!("library/{image}")),
    };
    let path = rest.split([':', '@']).next().unwrap_or_default();
    // As the reader does it: up to a tag, or all.
    let named = rest.split(':').next().unwrap_or_default();
    if named.to_lowercase() != named {
        return Err(format!(
            "{}: repository name ({named}) must be lowercase",
            invalid()
        ));
    }
    let (name, digest) = match rest.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (rest.as_str(), None),
    };
    let tag = name.split_once(':').map(|(_, tag)| tag);
    let good = registry.is_none_or(is_registry)
        && path.split('/').all(is_component)
        && tag.is_none_or(is_tag)
        && digest.is_none_or(is_digest);
    if !good {
        return Err(invalid());
    }
    if registry.map_or(0, |registry| registry.len() + 1) + path.len() > LONGEST_NAME {
        return Err(format!(
            "repository name must not be more than {LONGEST_NAME} characters"
        ));
    }
    Ok(())
}

fn is_registry(text: &str) -> bool {
    let port = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    if let Some(rest) = text.strip_prefix('[') {
        let Some((address, rest)) = rest.split_once(']') else {
            return false;
        };
        let is_address = address.parse::<std::net::Ipv6Addr>().is_ok();
        return is_address && (rest.is_empty() || rest.strip_prefix(':').is_some_and(port));
    }
    let (host, number) = match text.split_once(':') {
        Some((host, number)) => (host, Some(number)),
        None => (text, None),
    };
    let label = |label: &str| {
        let inner = label
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        inner && !label.is_empty() && !label.starts_with('-') && !label.ends_with('-')
    };
    host.split('.').all(label) && number.is_none_or(port)
}

/// Small letters and digits, with single separators (`.`, `_`, `__`, any number of `-`) between them.
fn is_component(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let runs = text.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    let separators = runs.filter(|run| !run.is_empty());
    let good = |run: &str| matches!(run, "." | "_" | "__") || run.bytes().all(|byte| byte == b'-');
    let ends = [text.bytes().next(), text.bytes().last()];
    ends.into_iter().all(|end| end.is_some_and(is_plain)) && separators.into_iter().all(good)
}

fn is_tag(text: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.len() <= 128
        && text.bytes().next().is_some_and(is_word)
        && text
            .bytes()
            .all(|byte| is_word(byte) || matches!(byte, b'.' | b'-'))
}

fn is_digest(text: &str) -> bool {
    text.split_once(':').is_some_and(|(algorithm, hex)| {
        let begins = algorithm.starts_with(|c: char| c.is_ascii_alphabetic());
        let inner = algorithm
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'.' | b'-' | b'_'));
        begins && inner && hex.len() >= 32 && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_images() {
        let hex = "0123456789abcdef".repeat(4);
        let invalid = "invalid reference format";
        let upper = |name: &str| format!("{invalid}: repository name ({name}) must be lowercase");
        for (image, expected) in [
            ("busybox", String::new()),
            ("busybox:1.36", String::new()),
            ("registry.example/a/b_c/d-e.f:v1", String::new()),
            ("registry.example:5000/a", String::new()),
            ("localhost/a:v1", String::new()),
            ("Host/a", String::new()),
            ("[fd00::1]:5000/a", String::new()),
            (&format!("a@sha256:{hex}"), String::new()),
            (&format!("a:v1@sha256:{hex}"), String::new()),
            (
                &hex,
                format!(
                    "invalid repository name ({hex}), cannot specify 64-byte hexadecimal strings"
                ),
            ),
            ("UPPER", upper("library/UPPER")),
            ("team/App:V1", upper("team/App")),
            ("registry.example/A", upper("A")),
            ("", invalid.to_owned()),
            (":v1", invalid.to_owned()),
            ("a:", invalid.to_owned()),
            ("a b", invalid.to_owned()),
            ("https://registry.example/a", invalid.to_owned()),
            ("registry.example//a", invalid.to_owned()),
            ("registry.example/a/", invalid.to_owned()),
            ("a___b", invalid.to_owned()),
            ("a..b", invalid.to_owned()),
            ("a@sha256:12", invalid.to_owned()),
            ("a:b:c", invalid.to_owned()),
        ] {
            let said = check_name(image).err().unwrap_or_default();
            assert_eq!(said, expected, "{image}");
        }
        let long = format!("r.example/{}", "a".repeat(250));
        let said = check_name(&long).unwrap_err();
        assert_eq!(said, "repository name must not be more than 255 characters");
    }
}
