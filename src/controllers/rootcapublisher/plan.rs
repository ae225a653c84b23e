//! How the map is to look.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::ObjectMeta;

use crate::reconcile::Key;

/// The map's name.
pub(super) const MAP: &str = "kube-root-ca.crt";
const FIELD: &str = "ca.crt";
const ABOUT: &str = "kubernetes.io/description";
const WORDS: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.";

/// The namespace whose map this is.
pub(super) fn namespace_of(map: &ConfigMap) -> Option<Key> {
    let namespace = map.metadata.namespace.as_deref()?;
    (map.metadata.name.as_deref() == Some(MAP)).then(|| Key::cluster(namespace))
}

/// The map to be written; `None`: it is as it should be.
pub(super) fn map(known: Option<&ConfigMap>, namespace: &str, bundle: &str) -> Option<ConfigMap> {
    let data = BTreeMap::from([(FIELD.to_owned(), bundle.to_owned())]);
    let Some(known) = known else {
        return Some(ConfigMap {
            metadata: ObjectMeta {
                name: Some(MAP.into()),
                namespace: Some(namespace.into()),
                annotations: Some(BTreeMap::from([(ABOUT.into(), WORDS.into())])),
                ..ObjectMeta::default()
            },
            data: Some(data),
            ..ConfigMap::default()
        });
    };
    let mut wanted = known.clone();
    wanted.data = Some(data);
    wanted
        .metadata
        .annotations
        .get_or_insert_default()
        .insert(ABOUT.into(), WORDS.into());
    (wanted != *known).then_some(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_map_is_made_and_mended() {
        let made = map(None, "ns", "PEM").unwrap();
        assert_eq!(namespace_of(&made), Some(Key::cluster("ns")));
        assert_eq!(map(Some(&made), "ns", "PEM"), None);
        let mut touched = made.clone();
        touched.data = Some(BTreeMap::from([("x".into(), "y".into())]));
        touched.metadata.annotations = Some(BTreeMap::from([("own".into(), "1".into())]));
        let mended = map(Some(&touched), "ns", "PEM").unwrap();
        assert_eq!(mended.data, made.data);
        let annotations = mended.metadata.annotations.unwrap();
        assert_eq!(annotations.len(), 2);
        assert_eq!(annotations["own"], "1");
    }
}
