//! What services must be and how they may change.

use super::*;
use crate::apiserver::kinds::testing::{context, defaulted, errors_of, errors_of_update};

/// A service with one port, as the allocators leave it.
fn service(change: &Value) -> Value {
    let mut spec = json!({ "ports": [{ "port": 80 }], "clusterIP": "10.0.0.9", "clusterIPs": ["10.0.0.9"], "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack" });
    let fields = change.as_object().unwrap().clone();
    spec.as_object_mut().unwrap().extend(fields);
    defaulted(
        &Service,
        json!({ "metadata": { "name": "s" }, "spec": spec }),
    )
}

#[test]
fn defaults() {
    let spec = &service(&json!({}))["spec"];
    assert_eq!(spec["type"], "ClusterIP");
    assert_eq!(spec["sessionAffinity"], "None");
    assert_eq!(spec["internalTrafficPolicy"], "Cluster");
    assert_eq!(
        spec["ports"][0],
        json!({ "port": 80, "protocol": "TCP", "targetPort": 80 })
    );
    let spec = &service(&json!({ "type": "LoadBalancer", "sessionAffinity": "ClientIP" }))["spec"];
    assert_eq!(spec["externalTrafficPolicy"], "Cluster");
    assert_eq!(spec["allocateLoadBalancerNodePorts"], true);
    assert_eq!(
        spec["sessionAffinityConfig"],
        json!({ "clientIP": { "timeoutSeconds": 10800 } })
    );
    let spec = &service(&json!({ "type": "ExternalName", "externalIPs": ["1.2.3.4"] }))["spec"];
    assert_eq!(spec.get("externalTrafficPolicy"), None);
    assert_eq!(spec.get("internalTrafficPolicy"), None);
}

#[test]
fn rules() {
    for (change, expected) in [
        (json!({}), ""),
        (json!({ "ports": [] }), "spec.ports: Required value"),
        (
            json!({ "type": "X" }),
            "spec.type: Unsupported value: \"X\": supported values: \"ClusterIP\", \"ExternalName\", \"LoadBalancer\", \"NodePort\"",
        ),
        (
            json!({ "ports": [{ "port": 80 }, { "port": 80, "name": "a" }] }),
            "spec.ports[0].name: Required value; spec.ports[1]: Duplicate value: {\"Name\":\"\",\"Protocol\":\"TCP\",\"AppProtocol\":null,\"Port\":80,\"TargetPort\":0,\"NodePort\":0}",
        ),
        (
            json!({ "ports": [{ "port": 0, "protocol": "X", "targetPort": "a_b" }] }),
            "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive; \
             spec.ports[0].protocol: Unsupported value: \"X\": supported values: \"SCTP\", \"TCP\", \"UDP\"; \
             spec.ports[0].targetPort: Invalid value: \"a_b\": must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)",
        ),
        (
            json!({ "ports": [{ "port": 80, "nodePort": 30000 }] }),
            "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'",
        ),
        (
            json!({ "type": "NodePort", "ports": [{ "port": 1, "name": "a", "nodePort": 30000 }, { "port": 2, "name": "b", "nodePort": 30000 }] }),
            "spec.ports[1].nodePort: Duplicate value: 30000",
        ),
        (
            json!({ "sessionAffinity": "ClientIP", "sessionAffinityConfig": { "clientIP": { "timeoutSeconds": 86401 } } }),
            "spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: 86401: must be greater than 0 and less than 86400",
        ),
        (
            json!({ "clusterIPs": ["10.0.0.8"] }),
            "spec.clusterIPs: Invalid value: [\"10.0.0.8\"]: first value must match `clusterIP`",
        ),
        (
            json!({ "clusterIP": "" }),
            "spec.clusterIPs: Invalid value: [\"10.0.0.9\"]: must be empty when `clusterIP` is not specified",
        ),
        (
            json!({ "ipFamilies": ["IPv6"] }),
            "spec.clusterIPs[0]: Invalid value: \"10.0.0.9\": expected an IPv6 value as indicated by `ipFamilies[0]`",
        ),
        (
            json!({ "ipFamilies": ["IPv4", "IPv4"], "ipFamilyPolicy": "X" }),
            "spec.ipFamilies[1]: Duplicate value: \"IPv4\"; spec.ipFamilyPolicy: Unsupported value: \"X\": supported values: \"PreferDualStack\", \"RequireDualStack\", \"SingleStack\"",
        ),
        (
            json!({ "type": "LoadBalancer", "ports": [{ "port": 10250, "targetPort": 80 }] }),
            "spec.ports[0]: Invalid value: 10250: may not expose port 10250 externally since it is used by kubelet",
        ),
        (
            json!({ "type": "LoadBalancer", "clusterIP": "None", "clusterIPs": ["None"] }),
            "spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for LoadBalancer services",
        ),
        (
            json!({ "externalIPs": ["127.0.0.1", "x"] }),
            "spec.externalIPs[0]: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128); \
             spec.externalIPs[1]: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
        ),
        (
            json!({ "externalTrafficPolicy": "Local" }),
            "spec.externalTrafficPolicy: Invalid value: \"Local\": may only be set for externally-accessible services",
        ),
        (
            json!({ "type": "LoadBalancer", "externalTrafficPolicy": "Local" }),
            "spec.healthCheckNodePort: Required value",
        ),
        (
            json!({ "healthCheckNodePort": 30000 }),
            "spec.healthCheckNodePort: Invalid value: 30000: may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
        ),
        (
            json!({ "internalTrafficPolicy": "X", "trafficDistribution": "Y" }),
            "spec.internalTrafficPolicy: Unsupported value: \"X\": supported values: \"Cluster\", \"Local\"; \
             spec.trafficDistribution: Unsupported value: \"Y\": supported values: \"PreferClose\", \"PreferSameNode\", \"PreferSameZone\"",
        ),
        (
            json!({ "loadBalancerClass": "a", "allocateLoadBalancerNodePorts": true, "loadBalancerSourceRanges": ["x"] }),
            "spec.LoadBalancerSourceRanges: Forbidden: may only be used when `type` is 'LoadBalancer'; \
             spec.LoadBalancerSourceRanges[0]: Invalid value: \"x\": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64); \
             spec.allocateLoadBalancerNodePorts: Forbidden: may only be used when `type` is 'LoadBalancer'; \
             spec.loadBalancerClass: Forbidden: may only be used when `type` is 'LoadBalancer'",
        ),
        (
            json!({ "type": "ExternalName", "externalName": "." }),
            "spec.clusterIPs: Forbidden: may not be set for ExternalName services; spec.ipFamilies: Forbidden: may not be set for ExternalName services; \
             spec.ipFamilyPolicy: Forbidden: may not be set for ExternalName services; spec.externalName: Required value",
        ),
    ] {
        assert_eq!(errors_of(&Service, &service(&change)), expected, "{change}");
    }
}

#[test]
fn changes() {
    let old = service(&json!({}));
    for (change, expected) in [
        (json!({}), ""),
        (
            json!({ "clusterIP": "10.0.0.8", "clusterIPs": ["10.0.0.8"] }),
            "spec.clusterIPs[0]: Invalid value: [\"10.0.0.8\"]: may not change once set",
        ),
        (
            json!({ "clusterIP": "", "clusterIPs": [] }),
            "spec.clusterIPs[0]: Invalid value: []: primary clusterIP can not be unset",
        ),
    ] {
        let new = service(&change);
        assert_eq!(errors_of_update(&Service, None, &new, &old), expected);
    }
    let balanced =
        |class: Value| service(&json!({ "type": "LoadBalancer", "loadBalancerClass": class }));
    assert_eq!(
        errors_of_update(&Service, None, &balanced(json!("b")), &balanced(json!("a"))),
        "spec.loadBalancerClass: Invalid value: \"b\": may not change once set"
    );
}

#[test]
fn a_new_type_drops_what_the_old_one_had() {
    let ports = json!([{ "port": 80, "nodePort": 30000 }]);
    let old = service(&json!({ "type": "LoadBalancer", "ports": ports }));
    let mut new = old.clone();
    new["spec"]["type"] = "ClusterIP".into();
    Service.prepare_update(&context(None), &mut new, &old);
    let spec = &new["spec"];
    assert_eq!(spec["ports"][0].get("nodePort"), None);
    for field in ["externalTrafficPolicy", "allocateLoadBalancerNodePorts"] {
        assert_eq!(spec.get(field), None, "{field}");
    }
    assert_eq!(spec["clusterIP"], "10.0.0.9");
    let mut new = old.clone();
    new["spec"]["type"] = "ExternalName".into();
    Service.prepare_update(&context(None), &mut new, &old);
    for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
        assert_eq!(new["spec"].get(field), None, "{field}");
    }
}

#[test]
fn status() {
    let old = service(&json!({ "type": "LoadBalancer" }));
    let mut new = old.clone();
    new["status"] = json!({ "loadBalancer": { "ingress": [{ "ip": "1.2.3.4" }] } });
    assert_eq!(
        errors_of_update(&Service, Some("status"), &new, &old),
        "status.loadBalancer.ingress[0].ipMode: Required value: must be specified when `ip` is set"
    );
    let new = defaulted(&Service, new);
    assert_eq!(errors_of_update(&Service, Some("status"), &new, &old), "");
    let plain = service(&json!({}));
    assert_eq!(
        errors_of_update(
            &Service,
            Some("status"),
            &json!({ "spec": plain["spec"], "status": new["status"] }),
            &plain
        ),
        "status.loadBalancer.ingress: Forbidden: may only be used when `spec.type` is 'LoadBalancer'"
    );
}

#[test]
fn what_is_warned_of() {
    for (change, expected) in [
        (json!({}), vec![]),
        (
            json!({ "externalIPs": ["1.2.3.4"], "externalName": "a.b", "trafficDistribution": "PreferClose" }),
            vec![
                "spec.externalIPs is deprecated and may no longer be implemented in some clusters",
                "spec.externalName is ignored when spec.type is not \"ExternalName\"",
                "spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"",
            ],
        ),
        (
            json!({ "type": "ExternalName", "externalIPs": ["1.2.3.4"], "clusterIPs": [] }),
            vec!["spec.externalIPs is ignored when spec.type is \"ExternalName\""],
        ),
        (
            json!({ "clusterIP": "None", "clusterIPs": ["None"], "loadBalancerIP": "1.2.3.4" }),
            vec!["spec.loadBalancerIP is ignored for headless services"],
        ),
    ] {
        assert_eq!(Service.warnings(&service(&change), None), expected);
    }
}
