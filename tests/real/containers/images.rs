//! Images from a registry with a password.

use serde_json::{Value, json};

use super::{Guest, STAYS, cases, shell, with};

#[test]
fn images_are_pulled() {
    cases(&[("pulls", pulls), ("absent-image", absent)]);
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
