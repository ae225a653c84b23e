//! What containers of a pod see and share.

use serde_json::{Value, json};

use super::{Guest, STAYS, cases, shell, with};

#[test]
fn volumes_of_pods() {
    cases(&[
        ("shared", shared),
        ("config", config),
        ("owned", owned),
        ("paths", paths),
        ("local", local),
        ("environment", environment),
    ]);
}

/// A volume at `/<name>`.
fn mounted(container: Value, volumes: &[&str]) -> Value {
    let mount = |name: &&str| json!({"name": name, "mountPath": format!("/{name}")});
    let mounts: Vec<Value> = volumes.iter().map(mount).collect();
    with(container, json!({"volumeMounts": mounts}))
}

fn shared(guest: &Guest) {
    let writer = shell(
        "writer",
        "trap \"exit 0\" TERM; i=0; while :; do i=$((i+1)); echo $i > /v/next; mv /v/next /v/n; sleep 0.2; done",
    );
    let reader = shell(
        "reader",
        "trap \"exit 0\" TERM; while ! [ -s /v/n ]; do sleep 0.1; done; cat /v/n; while :; do sleep 0.2; done",
    );
    let memory = with(
        shell("memory", STAYS),
        json!({"volumeMounts": [
            {"name": "m", "mountPath": "/m"}, {"name": "v", "mountPath": "/v", "readOnly": true},
        ]}),
    );
    guest.pod(
        "p",
        json!({
            "volumes": [{"name": "v", "emptyDir": {}}, {"name": "m", "emptyDir": {"medium": "Memory", "sizeLimit": "8Mi"}}],
            "containers": [mounted(writer, &["v"]), mounted(reader, &["v"]), memory],
        }),
    );
    guest.ready("p");
    guest.within(20, "the reader reads", || {
        let said = guest.ok("kubectl logs p -c reader");
        said.trim().parse::<u32>().ok()
    });
    let refused = guest.fails("kubectl exec p -c memory -- sh -c \"echo 1 > /v/x\"");
    assert!(refused.contains("Read-only file system"), "{refused}");
    // A container that starts again finds what it left; a pod that is made anew does not.
    let before = guest.inside("p", "cat /v/n");
    // The command ends with its container.
    guest.ok("kubectl exec p -- kill -TERM 1 || true");
    guest.until("the writer is started again", || {
        let status = guest.find("pods/p")?["status"].clone();
        let mut all = status["containerStatuses"].as_array()?.iter();
        let writer = all.find(|container| container["name"] == "writer")?;
        (writer["restartCount"] == 1).then_some(())
    });
    assert!(!before.is_empty());
    guest.ok("kubectl delete pod p --timeout=30s");
    let left = std::fs::read_dir(guest.place.volumes().join("pods")).unwrap();
    let mut left = left.filter(|entry| {
        entry
            .as_ref()
            .unwrap()
            .path()
            .join("volumes/kubernetes.io~empty-dir/m")
            .exists()
    });
    assert!(left.next().is_none(), "volumes are left behind");
}

/// Config maps, secrets, labels and a part of them: seen, and their changes too.
fn config(guest: &Guest) {
    guest.ok("kubectl create configmap cm --from-literal=a=one --from-literal=b=two");
    guest.ok("kubectl create secret generic se --from-literal=word=quiet");
    let part = with(
        mounted(shell("c", STAYS), &["cm", "se", "info", "all"]),
        json!({}),
    );
    let mut part = part;
    part["volumeMounts"]
        .as_array_mut()
        .unwrap()
        .push(json!({"name": "cm", "mountPath": "/part/a", "subPath": "a"}));
    guest.pod(
        "p",
        json!({
            "volumes": [
                {"name": "cm", "configMap": {"name": "cm"}},
                {"name": "se", "secret": {"secretName": "se", "defaultMode": 0o400}},
                {"name": "info", "downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
                {"name": "all", "projected": {"sources": [
                    {"configMap": {"name": "cm", "items": [{"key": "a", "path": "deep/a"}]}},
                    {"secret": {"name": "se"}},
                ]}},
            ],
            "containers": [part],
        }),
    );
    guest.ready("p");
    let look = "cat /cm/a /cm/b /se/word /info/labels /all/deep/a /all/word /part/a; ls /cm; stat -Lc %a /se/word";
    assert_eq!(
        guest.inside("p", look),
        "onetwoquietapp=\"p\"onequietonea\nb\n400"
    );
    guest.ok(
        "kubectl patch configmap cm -p '{\"data\":{\"a\":\"three\",\"b\":null,\"c\":\"four\"}}'",
    );
    guest.ok("kubectl patch secret se -p '{\"stringData\":{\"word\":\"loud\"}}'");
    guest.ok("kubectl label pod p more=yes");
    guest.inside_becomes(
        "p",
        "cat /cm/a /se/word /all/deep/a /all/word; ls /cm",
        "threeloudthreelouda\nc",
    );
    guest.inside_becomes("p", "cat /info/labels", "app=\"p\"\nmore=\"yes\"");
    // A part that was mounted on its own stays as it was.
    assert_eq!(guest.inside("p", "cat /part/a"), "one");
}

/// Who owns volumes, and as whom containers run.
fn owned(guest: &Guest) {
    let c = with(
        mounted(shell("c", STAYS), &["v"]),
        json!({"securityContext": {"readOnlyRootFilesystem": true, "allowPrivilegeEscalation": false,
            "capabilities": {"drop": ["ALL"]}}}),
    );
    guest.pod(
        "p",
        json!({
            "securityContext": {"fsGroup": 4000, "runAsUser": 1000, "runAsGroup": 3000, "supplementalGroups": [5000],
                "sysctls": [{"name": "kernel.shm_rmid_forced", "value": "1"}]},
            "hostname": "given", "shareProcessNamespace": true,
            "volumes": [{"name": "v", "emptyDir": {}}], "containers": [c],
        }),
    );
    guest.ready("p");
    let rows = [
        ("id -u; id -g; id -G", "1000\n3000\n3000 2000 4000 5000"),
        ("touch /v/f; stat -c \"%g\" /v /v/f", "4000\n4000"),
        ("touch /x 2>&1 | grep -o Read-only", "Read-only"),
        (
            "grep CapEff /proc/self/status | cut -f2",
            "0000000000000000",
        ),
        ("grep NoNewPrivs /proc/self/status | cut -f2", "1"),
        ("cat /proc/sys/kernel/shm_rmid_forced", "1"),
        ("hostname", "given"),
        ("cat /proc/1/comm", "pause"),
    ];
    for (script, expected) in rows {
        let found = guest.inside("p", script);
        let sorted = |text: &str| {
            let mut words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
            words.sort();
            words
        };
        assert_eq!(sorted(&found), sorted(expected), "{script}: {found}");
    }
}

/// Parts of volumes, and paths of the machine.
fn paths(guest: &Guest) {
    let host = guest.dir().join("host");
    let claim = guest.dir().join("claimed");
    std::fs::create_dir_all(&claim).unwrap();
    guest.ok("echo here > claimed/f");
    let object = json!({
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "of-paths"},
        "spec": {
            "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "",
            "hostPath": {"path": claim},
        },
    });
    guest.file("pv.json", &object.to_string());
    guest.ok("kubectl apply -f pv.json");
    guest.create(
        "persistentvolumeclaims",
        &json!({"metadata": {"name": "claim"}, "spec": {
            "accessModes": ["ReadWriteOnce"], "storageClassName": "",
            "resources": {"requests": {"storage": "1Gi"}},
        }}),
    );
    let c = with(
        shell(
            "c",
            "echo x > /sub/x; echo y > /expr/y; trap \"exit 0\" TERM; while :; do sleep 0.2; done",
        ),
        json!({
            "env": [{"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
            "volumeMounts": [
                {"name": "v", "mountPath": "/v"}, {"name": "v", "mountPath": "/sub", "subPath": "below/it"},
                {"name": "v", "mountPath": "/expr", "subPathExpr": "of-$(NAME)"}, {"name": "host", "mountPath": "/host"},
                {"name": "claim", "mountPath": "/claim"},
            ],
        }),
    );
    guest.pod(
        "p",
        json!({
            "volumes": [
                {"name": "v", "emptyDir": {}}, {"name": "host", "hostPath": {"path": host, "type": "DirectoryOrCreate"}},
                {"name": "claim", "persistentVolumeClaim": {"claimName": "claim"}},
            ],
            "containers": [c],
        }),
    );
    guest.ready("p");
    guest.inside("p", "echo out > /host/f");
    guest.prints("cat host/f", &["out"]);
    assert_eq!(
        guest.inside("p", "cat /v/below/it/x /v/of-p/y /claim/f"),
        "x\ny\nhere"
    );
}

/// A volume of this machine belongs to the group of the pod's volumes.
fn local(guest: &Guest) {
    let place = guest.dir().join("volume");
    std::fs::create_dir_all(place.join("d")).unwrap();
    guest.ok("echo here > volume/d/f && chmod 600 volume/d/f && ln -s /etc/passwd volume/link");
    let node = guest.ok("kubectl get node -o jsonpath={.items[0].metadata.name}");
    let on_node =
        json!({"key": "kubernetes.io/hostname", "operator": "In", "values": [node.trim()]});
    let object = json!({
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "of-local"},
        "spec": {
            "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "of-local",
            "local": {"path": place},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [on_node]}]}},
        },
    });
    guest.file("pv.json", &object.to_string());
    guest.ok("kubectl apply -f pv.json");
    guest.create(
        "persistentvolumeclaims",
        &json!({"metadata": {"name": "claim"}, "spec": {
            "accessModes": ["ReadWriteOnce"], "storageClassName": "of-local",
            "resources": {"requests": {"storage": "1Gi"}},
        }}),
    );
    guest.pod(
        "p",
        json!({
            "securityContext": {"fsGroup": 4000, "runAsUser": 1000, "runAsGroup": 3000},
            "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "claim"}}],
            "containers": [mounted(shell("c", STAYS), &["v"])],
        }),
    );
    guest.ready("p");
    assert_eq!(
        guest.inside("p", "cat /v/d/f; echo more >> /v/d/f; touch /v/d/g; stat -c %g:%a /v /v/d/f; stat -c %g /v/d/g"),
        "here\n4000:2775\n4000:660\n4000"
    );
    let group = guest.ok("stat -Lc %g volume/link");
    assert_eq!(group.trim(), "0", "what a link leads to is given away");
}

fn environment(guest: &Guest) {
    guest.ok("kubectl create configmap cm --from-literal=A=one --from-literal=B=two");
    guest.ok("kubectl create secret generic se --from-literal=S=quiet");
    guest.create(
        "services",
        &json!({"metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}], "selector": {"app": "x"}}}),
    );
    let c = with(
        shell("c", STAYS),
        json!({
            "args": ["$(WORD)"],
            "resources": {"limits": {"cpu": "500m", "memory": "64Mi"}},
            "envFrom": [{"configMapRef": {"name": "cm"}, "prefix": "P_"}],
            "env": [
                {"name": "WORD", "value": "word"}, {"name": "TWICE", "value": "$(WORD)-$(WORD)-$$(WORD)"},
                {"name": "S", "valueFrom": {"secretKeyRef": {"name": "se", "key": "S"}}},
                {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
                {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                {"name": "MEM", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory"}}},
            ],
        }),
    );
    guest.pod("p", json!({"containers": [c]}));
    let status = guest.ready("p");
    let found = guest.inside("p", "echo $P_A $P_B $TWICE $S $MEM $IP; [ -n \"$WEB_SERVICE_HOST\" ] && echo service; tail -c 5 /proc/1/cmdline");
    let ip = status["podIP"].as_str().unwrap();
    assert_eq!(
        found.trim_end_matches('\0'),
        format!("one two word-word-$(WORD) quiet 67108864 {ip}\nservice\nword")
    );
}
