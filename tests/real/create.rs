//! create of every kind that kubectl has a command for, run, expose, autoscale; most of it travels in protobuf.

use crate::world::World;

#[test]
fn every_kind() {
    let world = World::new("create");
    for (command, printed) in [
        ("namespace shop", "namespace/shop created"),
        ("configmap cm1 --from-literal=a=b", "configmap/cm1 created"),
        ("secret generic s1 --from-literal=p=q", "secret/s1 created"),
        (
            "secret docker-registry dr --docker-username=u --docker-password=p",
            "secret/dr created",
        ),
        ("serviceaccount bot", "serviceaccount/bot created"),
        (
            "role reader --verb=get,list --resource=pods",
            "role.rbac.authorization.k8s.io/reader created",
        ),
        (
            "rolebinding readers --role=reader --serviceaccount=default:bot",
            "rolebinding.rbac.authorization.k8s.io/readers created",
        ),
        (
            "clusterrole cr1 --verb=get --resource=nodes",
            "clusterrole.rbac.authorization.k8s.io/cr1 created",
        ),
        (
            "clusterrolebinding crb1 --clusterrole=cr1 --user=joe",
            "clusterrolebinding.rbac.authorization.k8s.io/crb1 created",
        ),
        (
            "deployment d2 --image=nginx --replicas=2 --port=80",
            "deployment.apps/d2 created",
        ),
        ("job j1 --image=busybox -- date", "job.batch/j1 created"),
        (
            "cronjob cj1 --image=busybox --schedule='0 0 1 1 *' -- date",
            "cronjob.batch/cj1 created",
        ),
        ("job j2 --from=cronjob/cj1", "job.batch/j2 created"),
        (
            "ingress i1 --rule=foo.com/bar=svc1:8080",
            "ingress.networking.k8s.io/i1 created",
        ),
        (
            "quota q1 --hard=cpu=10,pods=20 -n shop",
            "resourcequota/q1 created",
        ),
        (
            "poddisruptionbudget pdb1 --selector=app=d2 --min-available=1",
            "poddisruptionbudget.policy/pdb1 created",
        ),
        (
            "priorityclass pc1 --value=1000",
            "priorityclass.scheduling.k8s.io/pc1 created",
        ),
        ("service clusterip s2 --tcp=80:8080", "service/s2 created"),
        ("service nodeport s3 --tcp=80:80", "service/s3 created"),
        ("service loadbalancer s4 --tcp=80:80", "service/s4 created"),
        (
            "service externalname s5 --external-name=foo.com",
            "service/s5 created",
        ),
    ] {
        world.prints(&format!("kubectl create {command}"), &[printed]);
    }
    world.refuses(
        "kubectl create configmap cm1",
        &["error: failed to create configmap: configmaps \"cm1\" already exists"],
    );
    world.refuses("kubectl create secret generic S_1", &[
        "error: failed to create secret Secret \"S_1\" is invalid: metadata.name: Invalid value: \"S_1\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
    ]);
    world.prints("kubectl get secret s1 -o jsonpath='{.data.p}'", &["cQ=="]);
    world.shows("kubectl describe cm cm1", &["Name: cm1", "Data", "a:", "b"]);
    world.shows(
        "kubectl describe secret s1",
        &["Name: s1", "Type: Opaque", "p: 1 bytes"],
    );
    world.prints(
        "kubectl get cronjob cj1 --no-headers",
        &["cj1 0 0 1 1 * <none> False 0 <none> *"],
    );
    world.prints(
        "kubectl get svc s2 s5",
        &[
            "NAME TYPE CLUSTER-IP EXTERNAL-IP PORT(S) AGE",
            "s2 ClusterIP 10.* <none> 80/TCP *",
            "s5 ExternalName <none> foo.com <none> *",
        ],
    );
    world.shows(
        "kubectl describe ingress i1",
        &[
            "Name: i1",
            "Host Path Backends",
            "foo.com",
            "/bar svc1:8080 (<error: services \"svc1\" not found>)",
        ],
    );
    world.shows("kubectl describe role reader", &["pods [] [] [get list]"]);
    world.shows(
        "kubectl describe rolebinding readers",
        &["Kind: Role", "Name: reader", "ServiceAccount bot default"],
    );
    world.shows(
        "kubectl describe pdb pdb1",
        &["Name: pdb1", "Min available: 1", "Selector: app=d2"],
    );
    world.shows(
        "kubectl describe priorityclass pc1",
        &["Name: pc1", "Value: 1000"],
    );
    world.prints("kubectl delete ns shop", &["namespace \"shop\" deleted"]);
}

#[test]
fn run_expose_and_autoscale() {
    let world = World::new("run");
    world.prints(
        "kubectl run one --image=busybox --restart=Never --labels=run=one",
        &["pod/one created"],
    );
    world.prints(
        "kubectl wait pod/one --for=condition=Ready --timeout=20s",
        &["pod/one condition met"],
    );
    world.prints(
        "kubectl get pod one -o wide --no-headers",
        &["one 1/1 Running 0 * 10.244.* node-* <none> <none>"],
    );
    world.ok("kubectl apply -f web.yaml");
    world.prints(
        "kubectl expose deploy web --port=80 --target-port=8080 --name=web-svc",
        &["service/web-svc exposed"],
    );
    world.shows(
        "kubectl describe svc web-svc",
        &[
            "Name: web-svc",
            "Selector: app=web",
            "Type: ClusterIP",
            "Port: <unset> 80/TCP",
            "TargetPort: 8080/TCP",
        ],
    );
    world.prints(
        "kubectl autoscale deploy web --min=1 --max=3 --cpu-percent=80",
        &["horizontalpodautoscaler.autoscaling/web autoscaled"],
    );
    world.prints(
        "kubectl get hpa web --no-headers",
        &["web Deployment/web cpu: <unknown>/80% 1 3 * *"],
    );
    world.prints(
        "kubectl create --dry-run=client -o name -f web.yaml",
        &["deployment.apps/web"],
    );
}
