//! Where a node is, from its well-known labels.

use std::collections::BTreeMap;

/// The region and the zone that labels of a node name, as one word; empty when they name none. The old labels count more than
/// the new ones (`k8s.io/component-helpers/node/topology`).
#[must_use]
pub fn zone_key(labels: Option<&BTreeMap<String, String>>) -> String {
    let label = |old: &str, new: &str| {
        let labels = labels?;
        labels.get(old).or_else(|| labels.get(new))
    };
    let region = label(
        "failure-domain.beta.kubernetes.io/region",
        "topology.kubernetes.io/region",
    );
    let zone = label(
        "failure-domain.beta.kubernetes.io/zone",
        "topology.kubernetes.io/zone",
    );
    let (region, zone) = (
        region.map_or("", String::as_str),
        zone.map_or("", String::as_str),
    );
    if region.is_empty() && zone.is_empty() {
        return String::new();
    }
    format!("{region}:\0:{zone}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_by_new_and_old_labels() {
        let new = [
            ("topology.kubernetes.io/region", "r"),
            ("topology.kubernetes.io/zone", "z"),
        ];
        let old = [
            ("failure-domain.beta.kubernetes.io/region", "old-r"),
            ("failure-domain.beta.kubernetes.io/zone", "old-z"),
        ];
        for (labels, key) in [
            (vec![], ""),
            (vec![("other", "label")], ""),
            (new.to_vec(), "r:\0:z"),
            (new[..1].to_vec(), "r:\0:"),
            (new[1..].to_vec(), ":\0:z"),
            ([new, old].concat(), "old-r:\0:old-z"),
            (vec![old[0], new[1]], "old-r:\0:z"),
        ] {
            let labels = labels
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect();
            assert_eq!(zone_key(Some(&labels)), key, "{labels:?}");
        }
        assert_eq!(zone_key(None), "");
    }
}
