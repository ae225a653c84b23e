//! The kubelet over the fake runtime and this machine's files, on virtual time: what cannot be waits, says why, and recovers;
//! nothing is left of what is gone.

use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::api::core::v1::Event;
use kube::api::{DeleteParams, DynamicObject, GroupVersionKind, ListParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use super::machine::Machine;
use super::*;
use crate::apiserver::ApiServer;
use crate::cri::fake::Script;
use crate::cri::{ContainerRuntimeExt, FakeRuntime, ImageService};
use crate::store::MemoryStore;

const IMAGE: &str = "registry.example/c:v1";
/// Longer than the pauses between looks, shorter than what backs off.
const A_WHILE: Duration = Duration::from_secs(25);

struct World {
    server: ApiServer,
    manager: Manager,
    kubelet: Kubelet,
    runtime: FakeRuntime,
    directory: PathBuf,
}

impl World {
    async fn start(name: &str) -> Self {
        let directory =
            std::env::temp_dir().join(format!("homeostat-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(&directory).unwrap();
        let clock = Clock::seeded(1);
        let server = ApiServer::builder(Arc::new(MemoryStore::default()))
            .clock(clock.clone())
            .without_admission("RuntimeClass")
            .start()
            .await
            .unwrap();
        let manager = Manager::new(server.client(), clock.clone());
        let runtime = FakeRuntime::new(clock, "10.0.0");
        let below = |name: &str| directory.join(name).to_string_lossy().into_owned();
        let config = KubeletConfig {
            root: below("root"),
            logs: Some(below("logs")),
            host: Arc::new(Machine),
            ..KubeletConfig::default()
        };
        let node = NodeSpec::new("n").capacity("pods", "200");
        let kubelet = Kubelet::with_config(&manager, node, Arc::new(runtime.clone()), config);
        manager.start().await.unwrap();
        kubelet.start().await.unwrap();
        Self {
            server,
            manager,
            kubelet,
            runtime,
            directory,
        }
    }

    fn pods(&self) -> Api<Pod> {
        Api::default_namespaced(self.server.client())
    }

    async fn create(&self, object: Value) {
        let object: DynamicObject = serde_json::from_value(object).unwrap();
        let types = object.types.clone().unwrap();
        let (group, version) = types
            .api_version
            .split_once('/')
            .unwrap_or(("", &types.api_version));
        let kind = GroupVersionKind::gvk(group, version, &types.kind);
        let resource = kube::api::ApiResource::from_gvk(&kind);
        let client = self.server.client();
        let api: Api<DynamicObject> = if types.kind == "RuntimeClass" {
            Api::all_with(client, &resource)
        } else {
            Api::default_namespaced_with(client, &resource)
        };
        api.create(&PostParams::default(), &object).await.unwrap();
    }

    async fn run(&self, name: &str, mut spec: Value) {
        spec["nodeName"] = "n".into();
        spec["terminationGracePeriodSeconds"] = 1.into();
        self.create(
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}),
        )
        .await;
    }

    /// The phase of a pod, why its container waits, and what was told of it.
    async fn said(&self, name: &str) -> String {
        let pod = self.pods().get(name).await.unwrap();
        let status = pod.status.clone().unwrap_or_default();
        let mut said = vec![status.phase.unwrap_or_default()];
        for status in status.container_statuses.into_iter().flatten() {
            if let Some(waiting) = status.state.and_then(|state| state.waiting) {
                let message = waiting.message.unwrap_or_default();
                said.push(format!("{}: {message}", waiting.reason.unwrap_or_default()));
            }
        }
        let events: Api<Event> = Api::default_namespaced(self.server.client());
        for event in events.list(&ListParams::default()).await.unwrap() {
            if event.involved_object.name.as_deref() == Some(name) {
                let reason = event.reason.unwrap_or_default();
                said.push(format!(
                    "event {reason}: {}",
                    event.message.unwrap_or_default()
                ));
            }
        }
        said.join("\n")
    }

    async fn end(self) {
        self.kubelet.stop().await;
        self.manager.stop().await;
        self.server.stop().await;
        Machine.remove_all(&self.directory).await;
    }
}

impl Machine {
    async fn remove_all(&self, directory: &Path) {
        use super::host::Host;
        self.remove(directory).await.unwrap();
    }
}

fn container(fields: Value) -> Value {
    let mut container = json!({"name": "c", "image": IMAGE});
    let own = fields.as_object().unwrap().clone();
    container.as_object_mut().unwrap().extend(own);
    json!([container])
}

/// A pod with one volume that its container sees.
fn with_volume(volume: Value, mount: Value) -> Value {
    let (mut volume, mut mount) = (volume, mount);
    volume["name"] = "v".into();
    (mount["name"], mount["mountPath"]) = ("v".into(), "/v".into());
    json!({"containers": container(json!({"volumeMounts": [mount]})), "volumes": [volume]})
}

/// What makes a pod possible after all.
enum Cure {
    Object(Value),
    Runtime(fn(&FakeRuntime)),
    Files(fn(&Path)),
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_waits_and_recovers() {
    let world = World::start("bad-input").await;
    let at = |name: &str| world.directory.join(name).to_string_lossy().into_owned();
    std::fs::create_dir_all(world.directory.join("volume")).unwrap();
    std::os::unix::fs::symlink("/etc", world.directory.join("volume/out")).unwrap();
    std::fs::create_dir_all(world.directory.join("no-file")).unwrap();
    let needs = |script: Script, image: &str| {
        world.runtime.script(image, script);
        image.to_owned()
    };
    let secret_image = needs(
        Script::default().needs_auth("u", "p"),
        "registry.example/secret:v1",
    );
    let root = needs(Script::default(), "registry.example/root:v1");
    let named = needs(
        Script::default().image_user("app"),
        "registry.example/named:v1",
    );
    let never = "registry.example/never:v1";
    let config_map = |name: &str, data: Value| {
        Cure::Object(
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}),
        )
    };
    let secret = |name: &str, data: Value| {
        Cure::Object(
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data}),
        )
    };
    let auths = json!({"auths": {"registry.example": {"username": "u", "password": "p"}}});
    let env = |source: Value| json!({"containers": container(json!({"env": [{"name": "A", "valueFrom": source}]}))});
    for (name, spec, said, cure) in [
        (
            "env-map",
            env(json!({"configMapKeyRef": {"name": "m1", "key": "k"}})),
            vec![
                "CreateContainerConfigError: configmap \"m1\" not found".to_owned(),
                "event Failed: Error: configmap \"m1\" not found".to_owned(),
            ],
            config_map("m1", json!({"k": "v"})),
        ),
        (
            "env-from",
            json!({"containers": container(json!({"envFrom": [{"secretRef": {"name": "s1"}}]}))}),
            vec!["CreateContainerConfigError: secret \"s1\" not found".to_owned()],
            secret("s1", json!({"k": "v"})),
        ),
        (
            "map",
            with_volume(json!({"configMap": {"name": "m2"}}), json!({})),
            vec![
                "ContainerCreating".to_owned(),
                "event FailedMount: MountVolume.SetUp failed for volume \"v\" : configmap \"m2\" not found".to_owned(),
            ],
            config_map("m2", json!({"k": "v"})),
        ),
        (
            "secret",
            with_volume(json!({"secret": {"secretName": "s2"}}), json!({})),
            vec!["event FailedMount: MountVolume.SetUp failed for volume \"v\" : secret \"s2\" not found".to_owned()],
            secret("s2", json!({"k": "v"})),
        ),
        (
            "no-directory",
            with_volume(json!({"hostPath": {"path": at("dir"), "type": "Directory"}}), json!({})),
            vec![format!(
                "event FailedMount: MountVolume.SetUp failed for volume \"v\" : hostPath {} doesn't exist",
                at("dir")
            )],
            Cure::Files(|at| std::fs::create_dir(at.join("dir")).unwrap()),
        ),
        (
            "no-file",
            with_volume(json!({"hostPath": {"path": at("no-file"), "type": "FileOrCreate"}}), json!({})),
            vec![format!("hostPath type check failed: {} is not a file, it's a Directory", at("no-file"))],
            Cure::Files(|at| std::fs::remove_dir(at.join("no-file")).unwrap()),
        ),
        (
            "no-socket",
            with_volume(json!({"hostPath": {"path": at("socket"), "type": "Socket"}}), json!({})),
            vec![format!("hostPath {} doesn't exist", at("socket"))],
            Cure::Files(|at| drop(std::os::unix::net::UnixListener::bind(at.join("socket")).unwrap())),
        ),
        (
            "sub-path",
            with_volume(json!({"hostPath": {"path": at("volume")}}), json!({"subPath": "out"})),
            vec!["CreateContainerConfigError: failed to prepare subPath for volumeMount \"v\" of container \"c\"".to_owned()],
            Cure::Files(|at| std::fs::remove_file(at.join("volume/out")).unwrap()),
        ),
        (
            "class",
            json!({"containers": container(json!({})), "runtimeClassName": "absent"}),
            vec![
                "ContainerCreating".to_owned(),
                "event FailedCreatePodSandBox: Failed to create pod sandbox: runtimeclass.node.k8s.io \"absent\" not found".to_owned(),
            ],
            Cure::Object(json!({"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "absent"}, "handler": "h"})),
        ),
        (
            "root",
            json!({"containers": container(json!({"image": root, "securityContext": {"runAsNonRoot": true}}))}),
            vec![
                "CreateContainerConfigError: container has runAsNonRoot and image will run as root (pod: \"root_default(".to_owned(),
                "event Failed: Error: container has runAsNonRoot".to_owned(),
            ],
            Cure::Runtime(|runtime| runtime.script("registry.example/root:v1", Script::default().image_user("7"))),
        ),
        (
            "named",
            json!({"containers": container(json!({"image": named, "securityContext": {"runAsNonRoot": true}}))}),
            vec!["container has runAsNonRoot and image has non-numeric user (app), cannot verify user is non-root".to_owned()],
            Cure::Runtime(|runtime| runtime.script("registry.example/named:v1", Script::default().image_user("7"))),
        ),
        (
            "credentials",
            json!({"containers": container(json!({"image": secret_image})), "imagePullSecrets": [{"name": "pull"}]}),
            vec![
                "ImagePullBackOff: Back-off pulling image \"registry.example/secret:v1\"".to_owned(),
                "event FailedToRetrieveImagePullSecret: Unable to retrieve some image pull secrets (pull); attempting to pull the image may not succeed.".to_owned(),
                "event Failed: Error: ErrImagePull".to_owned(),
                "event Failed: Error: ImagePullBackOff".to_owned(),
            ],
            Cure::Object(json!({
                "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "pull"}, "type": "kubernetes.io/dockerconfigjson",
                "stringData": {".dockerconfigjson": auths.to_string()},
            })),
        ),
        (
            "never",
            json!({"containers": container(json!({"image": never, "imagePullPolicy": "Never"}))}),
            vec![
                format!("ErrImageNeverPull: Container image {never:?} is not present with pull policy of Never"),
                format!("event ErrImageNeverPull: Container image {never:?} is not present with pull policy of Never"),
                "event Failed: Error: ErrImageNeverPull".to_owned(),
            ],
            Cure::Runtime(|runtime| {
                let image = "registry.example/never:v1".into();
                let pulled = futures::FutureExt::now_or_never(runtime.pull_image(&image, None, None));
                pulled.unwrap().unwrap();
            }),
        ),
    ] {
        world.run(name, spec).await;
        tokio::time::sleep(A_WHILE).await;
        let found = world.said(name).await;
        assert!(found.starts_with("Pending"), "{name}: {found}");
        for expected in said {
            assert!(found.contains(&expected), "{name}: {expected}\nin {found}");
        }
        match cure {
            Cure::Object(object) => world.create(object).await,
            Cure::Runtime(cure) => cure(&world.runtime),
            Cure::Files(cure) => cure(&world.directory),
        }
        tokio::time::sleep(A_WHILE * 2).await;
        let found = world.said(name).await;
        assert!(found.starts_with("Running"), "{name}: {found}");
    }
    let name = "case/UPPER";
    world
        .run(
            "image",
            json!({"containers": container(json!({"image": name}))}),
        )
        .await;
    tokio::time::sleep(A_WHILE).await;
    let why = format!(
        "Failed to apply default image tag {name:?}: couldn't parse image name {name:?}: invalid reference format: repository name (case/UPPER) must be lowercase"
    );
    let found = world.said("image").await;
    for expected in [
        "InvalidImageName: ",
        "event InspectFailed: ",
        "event Failed: Error: InvalidImageName",
    ] {
        assert!(found.contains(expected), "{found}");
    }
    assert!(found.contains(&why), "{found}");
    let image = json!({"spec": {"containers": [{"name": "c", "image": IMAGE}]}});
    let patch = kube::api::Patch::Strategic(image);
    let params = kube::api::PatchParams::default();
    world.pods().patch("image", &params, &patch).await.unwrap();
    tokio::time::sleep(A_WHILE).await;
    assert!(world.said("image").await.starts_with("Running"));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_left_of_what_is_gone() {
    let world = World::start("leftovers").await;
    world.runtime.script(
        "registry.example/fails:v1",
        Script::default()
            .exits(Duration::from_secs(1), 3)
            .prints(Duration::ZERO, "last words"),
    );
    let spec = json!({
        "subdomain": "s", "hostAliases": [{"ip": "1.2.3.4", "hostnames": ["far"]}], "restartPolicy": "Never",
        "containers": container(json!({"volumeMounts": [{"name": "m", "mountPath": "/m", "subPath": "part"}]})),
        "volumes": [{"name": "m", "emptyDir": {"medium": "Memory", "sizeLimit": "64Ki"}}],
    });
    world.run("runs", spec.clone()).await;
    world.run("deleted", spec).await;
    let falls = json!({"image": "registry.example/fails:v1", "terminationMessagePolicy": "FallbackToLogsOnError"});
    world
        .run(
            "fails",
            json!({"containers": container(falls), "restartPolicy": "Never"}),
        )
        .await;
    tokio::time::sleep(A_WHILE).await;
    let pod = world.pods().get("runs").await.unwrap();
    let of_pod = world.directory.join("root/pods").join(pod.uid().unwrap());
    let hosts = std::fs::read_to_string(of_pod.join("etc-hosts")).unwrap();
    let ip = pod.status.unwrap().pod_ip.unwrap();
    let line = format!("{ip}\truns.s.default.svc.cluster.local\truns\n");
    assert!(
        hosts.contains(&line) && hosts.ends_with("1.2.3.4\tfar\n"),
        "{hosts}"
    );
    let started = world.runtime.started("default", "runs", "c").unwrap();
    let seen: Vec<&str> = started
        .mounts
        .iter()
        .map(|mount| &*mount.container_path)
        .collect();
    assert_eq!(seen, ["/m", "/etc/hosts", "/dev/termination-log"]);
    let part = Path::new(&started.mounts[0].host_path);
    assert!(
        part.starts_with(of_pod.join("volume-subpaths/m/c")),
        "{}",
        part.display()
    );
    std::fs::write(part.join("f"), "in memory").unwrap();
    let volume = of_pod.join("volumes/kubernetes.io~empty-dir/m");
    assert_eq!(std::fs::read(volume.join("part/f")).unwrap(), b"in memory");
    assert!(std::fs::write(volume.join("big"), vec![0; 128 << 10]).is_err());
    let failed = world.pods().get("fails").await.unwrap().status.unwrap();
    let end = failed.container_statuses.unwrap().remove(0).state.unwrap();
    assert_eq!(
        end.terminated.unwrap().message.as_deref(),
        Some("last words\n")
    );

    // One is deleted by force while the agent is away; what others left is found by housekeeping.
    world.kubelet.stop().await;
    let now = DeleteParams::default().grace_period(0);
    world.pods().delete("deleted", &now).await.unwrap();
    for left in ["root/pods/gone/volumes", "logs/ns_gone_uid/c", "logs/other"] {
        std::fs::create_dir_all(world.directory.join(left)).unwrap();
    }
    world.kubelet.start().await.unwrap();
    tokio::time::sleep(A_WHILE * 2).await;
    let names = |below: &str| {
        let entries = std::fs::read_dir(world.directory.join(below)).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    };
    let uid = pod.metadata.uid.unwrap();
    assert_eq!(names("root/pods"), std::slice::from_ref(&uid));
    let logs = names("logs");
    assert_eq!(logs.len(), 3, "{logs:?}");
    assert!(
        logs[0].starts_with("default_fails_")
            && logs[1..] == [format!("default_runs_{uid}"), "other".to_owned()]
    );
    // A pod that has finished keeps its containers, for their logs, until it is deleted.
    let sandboxes = world.runtime.pods().await.unwrap();
    let ready: Vec<bool> = sandboxes.iter().map(|sandbox| sandbox.ready).collect();
    assert_eq!(
        (ready.len(), ready.iter().filter(|ready| **ready).count()),
        (2, 1)
    );
    let ended = sandboxes.iter().find(|sandbox| !sandbox.ready).unwrap();
    let log = world.runtime.log(&ended.containers[0].id).await.unwrap();
    let log = String::from_utf8(log.unwrap()).unwrap();
    assert!(log.ends_with("last words\n"), "{log}");

    for name in ["runs", "fails"] {
        world
            .pods()
            .delete(name, &DeleteParams::default())
            .await
            .unwrap();
    }
    tokio::time::sleep(A_WHILE * 2).await;
    assert!(names("root/pods").is_empty());
    assert_eq!(names("logs"), ["other"]);
    assert!(world.runtime.pods().await.unwrap().is_empty());
    world.end().await;
}
