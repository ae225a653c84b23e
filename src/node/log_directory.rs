//! The directory of a pod's logs, below that of all logs: tools that gather logs know pods by it.

use k8s_openapi::api::core::v1::Pod;

use super::mirror::runtime_uid;

/// The name of a pod's: its namespace, name and uid, none of which has the separator in it.
pub(super) fn of(pod: &Pod) -> String {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let (namespace, name) = (text(&pod.metadata.namespace), text(&pod.metadata.name));
    let uid = runtime_uid(pod).unwrap_or_default();
    format!("{namespace}_{name}_{uid}")
}

/// The uid in such a name.
pub(super) fn uid(directory: &str) -> Option<&str> {
    let mut parts = directory.split('_');
    let uid = parts.nth(2)?;
    parts.next().is_none().then_some(uid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::mirror::MIRROR;

    #[test]
    fn names_tell_the_uid() {
        let pod = |annotations| {
            let meta = serde_json::json!({
                "namespace": "ns", "name": "a.b-c", "uid": "u", "annotations": annotations,
            });
            serde_json::from_value::<Pod>(serde_json::json!({"metadata": meta})).unwrap()
        };
        assert_eq!(of(&pod(serde_json::json!({}))), "ns_a.b-c_u");
        // What a mirror shows has the uid of its manifest.
        assert_eq!(of(&pod(serde_json::json!({MIRROR: "m"}))), "ns_a.b-c_m");
        for (name, expected) in [
            ("ns_a.b-c_u", Some("u")),
            ("ns_a", None),
            ("ns_a_u_more", None),
            ("lost+found", None),
        ] {
            assert_eq!(uid(name), expected, "{name}");
        }
    }
}
