"""What a program in Python does with a cluster; prints a line a step."""

import json
import sys
import threading
import time

from kubernetes import client, config, watch
from kubernetes.client.rest import ApiException
from kubernetes.dynamic import DynamicClient

config.load_kube_config(sys.argv[1])
core, apps = client.CoreV1Api(), client.AppsV1Api()
version = client.VersionApi().get_code()
print("version", version.major + "." + version.minor)
nodes = core.list_node().items
print("nodes", *sorted(node.metadata.name for node in nodes))


def config_map(name, **data):
    return client.V1ConfigMap(metadata=client.V1ObjectMeta(name=name, labels={"set": "py"}), data=data)


made = [core.create_namespaced_config_map("default", config_map(name, k="v")) for name in "ab"]
print("created", *(one.metadata.name for one in made))
token = None
while True:
    page = core.list_namespaced_config_map("default", label_selector="set=py", limit=1, _continue=token)
    token = page.metadata._continue
    print("page", *(one.metadata.name for one in page.items), "more" if token else "end")
    if not token:
        break
print("patched", core.patch_namespaced_config_map("a", "default", {"data": {"x": "y"}}).data["x"])

applied = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "applied"}, "data": {"k": "z"}}
dynamic = DynamicClient(client.ApiClient())
maps = dynamic.resources.get(api_version="v1", kind="ConfigMap")
print("applied", maps.server_side_apply(applied, namespace="default", field_manager="py").data["k"])

try:
    core.create_namespaced_config_map("default", config_map("a"))
except ApiException as error:
    print("conflict", json.loads(error.body)["reason"])
try:
    core.create_namespaced_config_map("default", config_map("A_"))
except ApiException as error:
    print("invalid", json.loads(error.body)["details"]["causes"][0]["field"])

seen = []
start = core.list_namespaced_config_map("default").metadata.resource_version


def look():
    events = watch.Watch().stream(
        core.list_namespaced_config_map, "default", resource_version=start, label_selector="set=py", timeout_seconds=20
    )
    for event in events:
        seen.append("%s %s" % (event["type"], event["object"].metadata.name))
        if event["type"] == "DELETED":
            return


looking = threading.Thread(target=look)
looking.start()
core.create_namespaced_config_map("default", config_map("w"))
core.patch_namespaced_config_map("w", "default", {"data": {"n": "1"}})
core.delete_namespaced_config_map("w", "default")
looking.join(25)
print("watched", ", ".join(seen))

labels = {"app": "py"}
deployment = client.V1Deployment(
    metadata=client.V1ObjectMeta(name="py"),
    spec=client.V1DeploymentSpec(
        replicas=2,
        selector=client.V1LabelSelector(match_labels=labels),
        template=client.V1PodTemplateSpec(
            metadata=client.V1ObjectMeta(labels=labels),
            spec=client.V1PodSpec(containers=[client.V1Container(name="c", image="nginx")]),
        ),
    ),
)
apps.create_namespaced_deployment("default", deployment)


def wait_for(replicas):
    for _ in range(200):
        status = apps.read_namespaced_deployment_status("py", "default").status
        if (status.ready_replicas or 0) == replicas:
            return replicas
        time.sleep(0.1)
    return "never"


print("ready", wait_for(2))
apps.patch_namespaced_deployment_scale("py", "default", {"spec": {"replicas": 1}})
print("scaled", wait_for(1))

group, plural = "stable.example.com", "crontabs"
schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"n": {"type": "integer"}}}}}
client.ApiextensionsV1Api().create_custom_resource_definition(
    {
        "metadata": {"name": plural + "." + group},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": plural, "singular": "crontab", "kind": "CronTab"},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
        },
    }
)
custom = client.CustomObjectsApi()
tab = {"apiVersion": group + "/v1", "kind": "CronTab", "metadata": {"name": "t"}, "spec": {"n": 1}}
for _ in range(100):
    try:
        custom.create_namespaced_custom_object(group, "v1", "default", plural, tab)
        break
    except ApiException:
        time.sleep(0.1)
print("custom", custom.get_namespaced_custom_object(group, "v1", "default", plural, "t")["spec"]["n"])
core.delete_collection_namespaced_config_map("default", label_selector="set=py")
print("gone" if not core.list_namespaced_config_map("default", label_selector="set=py").items else "left")
