//! get in its forms, and describe.

use crate::world::World;

#[test]
fn get_and_describe() {
    let world = World::new("get");
    world.ok("kubectl apply -f web.yaml && kubectl rollout status deploy/web --timeout=30s");
    world.prints(
        "kubectl get deploy,rs -o wide",
        &[
            "NAME READY UP-TO-DATE AVAILABLE AGE CONTAINERS IMAGES SELECTOR",
            "deployment.apps/web 2/2 2 2 * c nginx app=web",
            "NAME DESIRED CURRENT READY AGE CONTAINERS IMAGES SELECTOR",
            "replicaset.apps/web-* 2 2 2 * c nginx app=web,pod-template-hash=*",
        ],
    );
    world.prints(
        "kubectl get pods -o wide",
        &[
            "NAME READY STATUS RESTARTS AGE IP NODE NOMINATED NODE READINESS GATES",
            "web-* 1/1 Running 0 * 10.244.* node-* <none> <none>",
            "web-* 1/1 Running 0 * 10.244.* node-* <none> <none>",
        ],
    );
    world.prints(
        "kubectl get pods -o custom-columns=IMG:.spec.containers[*].image,PHASE:.status.phase",
        &["IMG PHASE", "nginx Running", "nginx Running"],
    );
    world.prints("kubectl get pods -o name", &["pod/web-*", "pod/web-*"]);
    world.shows(
        "kubectl get deploy web -o yaml",
        &[
            "apiVersion: apps/v1",
            "kind: Deployment",
            "name: web",
            "replicas: 2",
        ],
    );
    world.shows(
        "kubectl get deploy web -o json",
        &["\"apiVersion\": \"apps/v1\",", "\"kind\": \"Deployment\","],
    );
    world.prints(
        "kubectl get pods --field-selector=status.phase!=Running",
        &[],
    );
    world.prints(
        "kubectl get pods --chunk-size=1 --no-headers",
        &["web-* 1/1 Running 0 *", "web-* 1/1 Running 0 *"],
    );
    world.prints(
        "kubectl get ns --sort-by=.metadata.name -o name",
        &[
            "namespace/default",
            "namespace/kube-node-lease",
            "namespace/kube-public",
            "namespace/kube-system",
        ],
    );
    world.shows(
        "kubectl describe deploy web",
        &[
            "Name: web",
            "Selector: app=web",
            "Replicas: 2 desired | 2 updated | 2 total | 2 available | 0 unavailable",
            "StrategyType: RollingUpdate",
            "RollingUpdateStrategy: 25% max unavailable, 25% max surge",
            "Available True MinimumReplicasAvailable",
            "Progressing True NewReplicaSetAvailable",
            "NewReplicaSet: web-* (2/2 replicas created)",
            "Normal ScalingReplicaSet * deployment-controller Scaled up replica set web-* from 0 to 2",
        ],
    );
    world.shows(
        "kubectl describe $(kubectl get pods -o name | head -1)",
        &[
            "Name: web-*",
            "Status: Running",
            "Controlled By: ReplicaSet/web-*",
            "Image: nginx",
            "Port: 80/TCP",
            "Ready: True",
            "Restart Count: 0",
            "QoS Class: BestEffort",
            "Type Reason Age From Message",
            "Normal Scheduled * default-scheduler Successfully assigned default/web-* to node-*",
        ],
    );
    world.shows(
        "kubectl describe node node-1",
        &[
            "Name: node-1",
            "Unschedulable: false",
            "Ready True * * * * * * * * * * * * KubeletReady kubelet is posting ready status",
        ],
    );
    world.shows(
        "kubectl events --for deployment/web",
        &["LAST SEEN TYPE REASON OBJECT MESSAGE"],
    );
}

#[test]
fn watches() {
    let world = World::new("watch");
    world.ok("kubectl create cm a");
    world.ok(
        "kubectl get cm a --watch --output-watch-events --no-headers > seen & watching=$!
        until_seen() { for i in $(seq 50); do grep -q $1 seen && return; sleep 0.2; done; }
        until_seen ADDED && kubectl label cm a x=y && until_seen MODIFIED && kubectl delete cm a && until_seen DELETED
        kill $watching",
    );
    world.prints(
        "cat seen",
        &["ADDED a 0 *", "MODIFIED a 0 *", "DELETED a 0 *"],
    );
}
