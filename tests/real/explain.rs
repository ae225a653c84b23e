//! What the server says about itself: explain, api-resources, api-versions, cluster-info, auth can-i, events, top.

use crate::world::World;

#[test]
fn explain_built_in_and_custom_resources() {
    let world = World::new("explain");
    world.shows(
        "kubectl explain pod.spec.containers.imagePullPolicy",
        &[
            "KIND: Pod",
            "VERSION: v1",
            "FIELD: imagePullPolicy <string>",
            "ENUM:",
            "Always",
            "IfNotPresent",
            "Never",
            "DESCRIPTION:",
            "Image pull policy. One of Always, Never, IfNotPresent. Defaults to Always if",
        ],
    );
    world.shows(
        "kubectl explain deployment.spec",
        &[
            "GROUP: apps",
            "KIND: Deployment",
            "FIELD: spec <DeploymentSpec>",
            "replicas <integer>",
            "selector <LabelSelector> -required-",
        ],
    );
    world.shows(
        "kubectl explain --recursive job.spec.template.spec.volumes",
        &[
            "FIELD: volumes <[]Volume>",
            "configMap <ConfigMapVolumeSource>",
            "items <[]KeyToPath>",
            "name <string> -required-",
        ],
    );
    // The older document, in protobuf.
    world.shows(
        "kubectl explain --output plaintext-openapiv2 deployment.spec.replicas",
        &[
            "KIND: Deployment",
            "VERSION: apps/v1",
            "FIELD: replicas <integer>",
        ],
    );
    world.refuses(
        "kubectl explain pod.spec.nope",
        &["error: field \"nope\" does not exist"],
    );

    world.ok("kubectl apply -f crontabs.yaml");
    world.ok(
        "kubectl wait --for=condition=Established crd/crontabs.stable.example.com --timeout=10s",
    );
    world.shows(
        "kubectl explain crontab.spec",
        &[
            "GROUP: stable.example.com",
            "KIND: CronTab",
            "VERSION: v1",
            "FIELD: spec <Object>",
            "What is wanted.",
            "cronSpec <string>",
            "When it runs.",
            "replicas <integer>",
        ],
    );
    world.file(
        "tab.yaml",
        "apiVersion: stable.example.com/v1\nkind: CronTab\nmetadata: {name: t}\nspec: {cronSpec: '* * * * *', replicas: 1}\n",
    );
    world.prints(
        "kubectl apply -f tab.yaml",
        &["crontab.stable.example.com/t created"],
    );
    world.prints("kubectl get ct", &["NAME AGE", "t *"]);
    world.shows(
        "kubectl describe crontab t",
        &[
            "Name: t",
            "Kind: CronTab",
            "Cron Spec: * * * * *",
            "Replicas: 1",
        ],
    );
    world.refuses(
        "kubectl patch crontab t --type=merge -p '{\"spec\":{\"replicas\":0}}'",
        &["The CronTab \"t\" is invalid: spec.replicas: Invalid value: 0: spec.replicas in body should be greater than or equal to 1"],
    );
    world.prints(
        "kubectl delete crontab t",
        &["crontab.stable.example.com \"t\" deleted"],
    );
    world.prints(
        "kubectl delete -f crontabs.yaml",
        &["customresourcedefinition.apiextensions.k8s.io \"crontabs.stable.example.com\" deleted"],
    );
}

#[test]
fn what_is_served() {
    let world = World::new("served");
    world.shows(
        "kubectl api-resources",
        &[
            "NAME SHORTNAMES APIVERSION NAMESPACED KIND",
            "configmaps cm v1 true ConfigMap",
            "nodes no v1 false Node",
            "pods po v1 true Pod",
            "deployments deploy apps/v1 true Deployment",
            "horizontalpodautoscalers hpa autoscaling/v2 true HorizontalPodAutoscaler",
            "clusterroles rbac.authorization.k8s.io/v1 false ClusterRole",
        ],
    );
    world.prints(
        "kubectl api-resources --api-group=batch --verbs=list -o wide",
        &[
            "NAME SHORTNAMES APIVERSION NAMESPACED KIND VERBS CATEGORIES",
            "cronjobs cj batch/v1 true CronJob create,delete,deletecollection,get,list,patch,update,watch all",
            "jobs batch/v1 true Job create,delete,deletecollection,get,list,patch,update,watch all",
        ],
    );
    world.shows(
        "kubectl api-versions",
        &["apps/v1", "autoscaling/v1", "autoscaling/v2", "v1"],
    );
    world.shows(
        "kubectl cluster-info",
        &["Kubernetes control plane is running at https://127.0.0.1:*"],
    );
    world.prints("kubectl auth can-i create deployments.apps", &["yes"]);
    world.shows(
        "kubectl auth can-i --list",
        &[
            "Resources Non-Resource URLs Resource Names Verbs",
            "*.* [] [] [*]",
        ],
    );
    world.prints("kubectl get --raw /healthz", &["ok"]);
    world.shows(
        "kubectl get --raw '/readyz?verbose'",
        &["[+]ping ok", "readyz check passed"],
    );
    // Nobody measures without nodes.
    let alone = World::only_api("no-metrics");
    alone.refuses("kubectl top pods", &["error: Metrics API not available"]);
    alone.refuses("kubectl top nodes", &["error: Metrics API not available"]);
    world.refuses(
        "kubectl top pod nothing",
        &["Error from server (NotFound): pods.metrics.k8s.io \"nothing\" not found"],
    );
    world.refuses(
        "kubectl top node nothing",
        &["Error from server (NotFound): nodes.metrics.k8s.io \"nothing\" not found"],
    );
    world.refuses(
        "kubectl get nothings",
        &["error: the server doesn't have a resource type \"nothings\""],
    );
}
