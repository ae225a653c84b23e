//! Tests of the allocators.
use super::*;
use crate::apiserver::Strategy;
use crate::object::GroupVersionKind;
use serde_json::json;
use std::sync::Arc;

#[derive(Debug)]
struct Plain;
impl Strategy for Plain {}

fn services() -> Resource {
    Resource {
        gvk: GroupVersionKind::new("", "v1", "Service"),
        list_kind: "ServiceList".into(),
        plural: "services".into(),
        singular: "service".into(),
        namespaced: true,
        short_names: Vec::new(),
        categories: Vec::new(),
        verbs: Vec::new(),
        subresources: Vec::new(),
        storage_version: "v1".into(),
        storage_group: String::new(),
        key_prefix: "/registry/services".into(),
        custom: None,
        schema: None,
        open_api: None,
        strategy: Arc::new(Plain),
    }
}

fn allocators(cidr: &str) -> Allocators {
    Allocators::new(
        Cidr::parse_list(cidr).unwrap(),
        30000..=30003,
        &Clock::seeded(1),
    )
}

fn service(spec: &Value) -> Value {
    json!({"metadata": {"name": "s"}, "spec": spec})
}

/// Creates a service of `spec` and keeps what it is given.
fn create(allocators: &Allocators, spec: &Value) -> Result<Value, String> {
    let mut service = service(spec);
    let allocation = allocators
        .create(&services(), &mut service)
        .map_err(|status| status.message)?;
    allocation.keep();
    Ok(service)
}

#[tokio::test(start_paused = true)]
async fn addresses_are_given_once_and_given_back() {
    let allocators = allocators("10.0.0.0/28");
    let mut given = Vec::new();
    for _ in 0..14 {
        let service = create(&allocators, &json!({"type": "ClusterIP"})).unwrap();
        assert_eq!(
            service["spec"]["clusterIPs"],
            json!([service["spec"]["clusterIP"]])
        );
        assert_eq!(service["spec"]["ipFamilies"], json!(["IPv4"]));
        given.push(service);
    }
    let distinct: BTreeSet<&str> = given
        .iter()
        .map(|service| service.str_at(&["spec", "clusterIP"]))
        .collect();
    assert_eq!(distinct.len(), 14);
    let full = create(&allocators, &json!({"type": "ClusterIP"})).unwrap_err();
    assert_eq!(
        full,
        "Internal error occurred: failed to allocate a serviceIP: range is full"
    );
    allocators.release(&services(), &given[3]);
    let again = create(&allocators, &json!({"type": "ClusterIP"})).unwrap();
    assert_eq!(again["spec"]["clusterIP"], given[3]["spec"]["clusterIP"]);
}

#[tokio::test(start_paused = true)]
async fn certain_addresses_and_ports() {
    let allocators = allocators("10.0.0.0/24");
    let want = |address: &str| json!({"type": "ClusterIP", "clusterIP": address});
    create(&allocators, &want("10.0.0.77")).unwrap();
    assert_eq!(
        create(&allocators, &want("10.0.0.77")).unwrap_err(),
        "Service \"s\" is invalid: spec.clusterIPs: Invalid value: [\"10.0.0.77\"]: failed to allocate IP 10.0.0.77: provided IP is already allocated"
    );
    assert!(
        create(&allocators, &want("10.9.0.1"))
            .unwrap_err()
            .contains("is not in the valid range")
    );
    let port = |port: u16| json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": port}]});
    create(&allocators, &port(30001)).unwrap();
    assert_eq!(
        create(&allocators, &port(30001)).unwrap_err(),
        "Service \"s\" is invalid: spec.ports[0].nodePort: Invalid value: 30001: provided port is already allocated"
    );
    assert_eq!(
        create(&allocators, &port(29999)).unwrap_err(),
        "Service \"s\" is invalid: spec.ports[0].nodePort: Invalid value: 29999: provided port is not in the valid range. The range of valid ports is 30000-30003"
    );
    let both = create(&allocators, &json!({"type": "NodePort", "ports": [{"port": 53, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]})).unwrap();
    assert_eq!(
        both["spec"]["ports"][0]["nodePort"],
        both["spec"]["ports"][1]["nodePort"]
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_not_stored_is_given_back() {
    let allocators = allocators("10.0.0.0/24");
    let mut service = service(&json!({"type": "NodePort", "ports": [{"port": 80}]}));
    drop(allocators.create(&services(), &mut service).unwrap());
    assert_eq!(*allocators.taken.lock(), Taken::default());
}

#[tokio::test(start_paused = true)]
async fn updates_carry_over_and_free() {
    let allocators = allocators("10.0.0.0/24");
    let old = create(
        &allocators,
        &json!({"type": "NodePort", "ports": [{"port": 80}]}),
    )
    .unwrap();
    let mut new = service(&json!({"type": "NodePort", "ports": [{"port": 81}]}));
    allocators
        .update(&services(), &mut new, &old)
        .unwrap()
        .keep();
    assert_eq!(new["spec"]["clusterIP"], old["spec"]["clusterIP"]);
    assert_eq!(
        new["spec"]["ports"][0]["nodePort"],
        old["spec"]["ports"][0]["nodePort"]
    );
    let mut gone = service(&json!({"type": "ExternalName", "externalName": "a.b"}));
    allocators
        .update(&services(), &mut gone, &new)
        .unwrap()
        .keep();
    assert_eq!(*allocators.taken.lock(), Taken::default());
}

#[tokio::test(start_paused = true)]
async fn the_store_tells_what_is_taken() {
    let first = allocators("10.0.0.0/24");
    let stored = create(
        &first,
        &json!({"type": "NodePort", "ports": [{"port": 80}]}),
    )
    .unwrap();
    let second = allocators("10.0.0.0/24");
    second.load([&stored]);
    assert_eq!(*second.taken.lock(), *first.taken.lock());
}

#[tokio::test(start_paused = true)]
async fn headless_services_get_no_address() {
    let allocators = allocators("10.0.0.0/24");
    let spec = create(
        &allocators,
        &json!({"type": "ClusterIP", "clusterIP": "None"}),
    )
    .unwrap()["spec"]
        .clone();
    assert_eq!(
        spec,
        json!({"type": "ClusterIP", "clusterIP": "None", "clusterIPs": ["None"], "ipFamilyPolicy": "RequireDualStack", "ipFamilies": ["IPv4", "IPv6"]})
    );
}

#[test]
fn ranges_are_parsed() {
    for (text, shown) in [
        ("10.96.0.0/12", Some("10.96.0.0/12")),
        ("10.0.0.9/24", Some("10.0.0.0/24")),
        ("10.0.0.0/8", None),
        ("x/24", None),
        ("10.0.0.0", None),
    ] {
        assert_eq!(
            Cidr::parse(text).map(|cidr| cidr.to_string()).as_deref(),
            shown
        );
    }
}

#[tokio::test(start_paused = true)]
async fn services_of_two_families() {
    let allocators = allocators("10.0.0.0/24,fd00::/108");
    let families = |service: &Value| -> Vec<bool> {
        let addresses = addresses(service);
        addresses
            .iter()
            .map(|address| address.contains(':'))
            .collect()
    };
    for (spec, expected, policy) in [
        (json!({}), vec![false], "SingleStack"),
        (json!({ "ipFamilies": ["IPv6"] }), vec![true], "SingleStack"),
        (
            json!({ "ipFamilyPolicy": "PreferDualStack" }),
            vec![false, true],
            "PreferDualStack",
        ),
        (
            json!({ "ipFamilyPolicy": "RequireDualStack", "ipFamilies": ["IPv6"] }),
            vec![true, false],
            "RequireDualStack",
        ),
        (
            json!({ "ipFamilyPolicy": "PreferDualStack", "clusterIP": "10.0.0.9" }),
            vec![false, true],
            "PreferDualStack",
        ),
        (json!({ "clusterIP": "fd00::9" }), vec![true], "SingleStack"),
    ] {
        let mut wanted = spec.clone();
        wanted["type"] = "ClusterIP".into();
        let made = create(&allocators, &wanted).unwrap();
        assert_eq!(families(&made), expected, "{spec}");
        assert_eq!(made["spec"]["ipFamilyPolicy"], policy);
        assert_eq!(made["spec"]["clusterIP"], made["spec"]["clusterIPs"][0]);
        assert_eq!(
            made["spec"]["ipFamilies"].as_array().unwrap().len(),
            expected.len()
        );
    }
    // One that had one family gets the other, and gives it back.
    let single = create(&allocators, &json!({ "type": "ClusterIP" })).unwrap();
    let mut both = single.clone();
    both["spec"]["ipFamilyPolicy"] = "RequireDualStack".into();
    let allocation = allocators.update(&services(), &mut both, &single).unwrap();
    assert_eq!(allocation.addresses().len(), 1);
    allocation.keep();
    assert_eq!(families(&both), [false, true]);
    assert_eq!(both["spec"]["clusterIP"], single["spec"]["clusterIP"]);
    let mut again = both.clone();
    again["spec"]["ipFamilyPolicy"] = "SingleStack".into();
    let allocation = allocators.update(&services(), &mut again, &both).unwrap();
    assert_eq!(allocation.freed().len(), 1);
    allocation.keep();
    assert_eq!(again["spec"]["clusterIPs"], single["spec"]["clusterIPs"]);
}
