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
    guest.pod(
        "right",
        json!({"imagePullSecrets": [{"name": "good"}], "containers": [of(&image, json!({"imagePullPolicy": "Always"}))]}),
    );
    guest.ready("right");
    guest.told(
        "right",
        &format!("Pulled: Successfully pulled image \"{image}\" in "),
    );
    // By the account's secrets, too.
    guest.ok(
        "kubectl patch serviceaccount default -p '{\"imagePullSecrets\":[{\"name\":\"good\"}]}'",
    );
    let number = format!("{registry}/number:1");
    guest.pod("account", json!({"containers": [of(&number, json!({}))]}));
    guest.ready("account");
    assert_eq!(guest.inside("account", "id -u"), "1000");
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
    guest.pod("name", json!({"containers": [of("Not A Name", json!({}))]}));
    let status = guest.becomes(
        "name",
        &[(
            "/containerStatuses/0/state/waiting/reason",
            json!("InvalidImageName"),
        )],
    );
    assert_eq!(status["phase"], "Pending");
}
