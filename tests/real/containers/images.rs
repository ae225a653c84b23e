//! Images from a registry with a password.

use serde_json::{Value, json};

use super::{Guest, STAYS, cases, shell, with};
use crate::machine::BUSYBOX;

#[test]
fn images_are_pulled() {
    cases(&[
        ("pulls", pulls),
        ("absent-image", absent),
        ("image-volumes", volumes),
    ]);
}

fn of(image: &str, more: Value) -> Value {
    with(with(shell("c", STAYS), json!({"image": image})), more)
}

fn pulls(guest: &Guest) {
    let registry = guest.place.machine.registry();
    let image = format!("{registry}/busybox:1");
    for (name, password) in [("good", "secret"), ("bad", "wrong")] {
        guest.ok(&format!(
            "kubectl create secret docker-registry {name} --docker-server={registry} --docker-username=homeostat --docker-password={password}"
        ));
    }
    // Nobody's, and the wrong password.
    guest.pod("nobody", json!({"containers": [of(&image, json!({}))]}));
    guest.pod(
        "wrong",
        json!({"imagePullSecrets": [{"name": "bad"}], "containers": [of(&image, json!({}))]}),
    );
    for name in ["nobody", "wrong"] {
        guest.told(name, &format!("Failed: Failed to pull image \"{image}\": "));
        guest.told(name, "Failed: Error: ErrImagePull");
        guest.told(
            name,
            &format!("BackOff: Back-off pulling image \"{image}\""),
        );
        guest.becomes(
            name,
            &[(
                "/containerStatuses/0/state/waiting/reason",
                json!("ImagePullBackOff"),
            )],
        );
    }
    // An image that is not in the registry.
    let none = format!("{registry}/none:1");
    guest.pod("none", json!({"containers": [of(&none, json!({}))]}));
    guest.told(
        "none",
        &format!("Failed: Failed to pull image \"{none}\": "),
    );
    guest.becomes(
        "none",
        &[(
            "/containerStatuses/0/state/waiting/reason",
            json!("ImagePullBackOff"),
        )],
    );
}

fn absent(guest: &Guest) {
    let never = of(
        "homeostat.local/none:1",
        json!({"imagePullPolicy": "Never"}),
    );
    guest.pod("never", json!({"containers": [never]}));
    let status = guest.becomes(
        "never",
        &[(
            "/containerStatuses/0/state/waiting/reason",
            json!("ErrImageNeverPull"),
        )],
    );
    assert_eq!(
        status["containerStatuses"][0]["state"]["waiting"]["message"],
        "Container image \"homeostat.local/none:1\" is not present with pull policy of Never"
    );
}

/// An image as a volume: it is pulled as others are, and shown where the runtime can do that.
fn volumes(guest: &Guest) {
    let of = |image: &str| {
        let c = with(
            shell("c", STAYS),
            json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}]}),
        );
        json!({"volumes": [{"name": "v", "image": {"reference": image}}], "containers": [c]})
    };
    let none = "127.0.0.1:1/none:1";
    guest.pod("absent", of(none));
    guest.told(
        "absent",
        &format!("Failed: Failed to pull image \"{none}\": "),
    );
    guest.told(
        "absent",
        &format!("BackOff: Back-off pulling image \"{none}\""),
    );
    guest.becomes(
        "absent",
        &[(
            "/containerStatuses/0/state/waiting/reason",
            json!("ImagePullBackOff"),
        )],
    );
    guest.pod("there", of(BUSYBOX));
    let reason = guest.until("it is shown, or the runtime says why not", || {
        let status = guest.find("pods/there")?["status"].clone();
        let state = status.pointer("/containerStatuses/0/state")?;
        match state["waiting"]["reason"].as_str() {
            None | Some("ContainerCreating") => state.get("running").map(|_| String::new()),
            Some(reason) => Some(reason.to_owned()),
        }
    });
    if reason.is_empty() {
        guest.inside("there", "test -x /v/bin/busybox");
        guest.fails("kubectl exec there -- touch /v/new");
    } else {
        // containerd before 2.1.
        assert_eq!(reason, "CreateContainerError");
    }
}
