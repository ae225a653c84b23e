//! Sandboxes, and the runtime itself.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::join_all;

use super::{Bench, check, equal, fails, wait};
use crate::cri::{ContainerRuntimeExt, Error, NamespaceMode, Sandbox, SandboxFilter, labels};

pub(super) async fn run(bench: &Bench<'_>) {
    it_says_who_and_how_it_is(bench).await;
    sandboxes_live_and_die(bench).await;
    sandboxes_are_found_by_what_they_are(bench).await;
    what_is_gone_can_be_stopped_and_removed(bench).await;
    each_has_an_address_of_its_own(bench).await;
    the_nodes_network_is_no_address(bench).await;
}

async fn it_says_who_and_how_it_is(bench: &Bench<'_>) {
    let case = "it says who and how it is";
    let version = bench.runtime.version().await.unwrap();
    equal(case, "the version", version.api_version.as_str(), "v1");
    check(case, !version.runtime_name.is_empty(), "it has no name");
    let status = bench.runtime.status().await.unwrap();
    for condition in ["RuntimeReady", "NetworkReady"] {
        check(
            case,
            status.holds(condition),
            &format!("{condition} does not hold: {status:?}"),
        );
    }
    let configured = bench.runtime.update_runtime_config("10.0.0.0/24").await;
    check(case, configured.is_ok(), "it takes no configuration");
}

async fn status(bench: &Bench<'_>, case: &str, id: &str) -> Sandbox {
    let found = bench.runtime.sandbox_status(id).await;
    found.unwrap_or_else(|error| panic!("{case}: sandbox_status: {error}"))
}

async fn sandboxes_live_and_die(bench: &Bench<'_>) {
    let case = "sandboxes live and die";
    let pod = bench.pod(case).await;
    let found = status(bench, case, &pod.id).await;
    check(case, found.ready, "it is not ready");
    check(case, !found.ip.is_empty(), "it has no address");
    check(case, !found.host_network, "it is on the node's network");
    equal(case, "its metadata", &found.metadata, &pod.config.metadata);
    equal(
        case,
        "its annotations",
        &found.annotations,
        &pod.config.annotations,
    );
    for (label, value) in &pod.config.labels {
        equal(case, "a label", found.labels.get(label), Some(value));
    }
    let uid = found.labels.get(labels::POD_UID);
    equal(case, "its label", uid, Some(&pod.config.metadata.uid));
    let running = bench.start(case, &pod, &bench.subject.runs).await;
    for time in ["first", "second"] {
        let stopped = bench.runtime.stop_sandbox(&pod.id).await;
        check(case, stopped.is_ok(), &format!("the {time} stop fails"));
        let found = status(bench, case, &pod.id).await;
        check(case, !found.ready, "it is ready after it was stopped");
    }
    let ended = bench.container(case, &running).await;
    let ended = ended.state.phase() == crate::cri::ContainerPhase::Exited;
    check(case, ended, "a container survives its sandbox");
    for time in ["first", "second"] {
        let removed = bench.runtime.remove_sandbox(&pod.id).await;
        check(case, removed.is_ok(), &format!("the {time} removal fails"));
    }
    let found = bench.runtime.sandbox_status(&pod.id).await;
    let error = fails(case, "the status of what is gone", found);
    check(
        case,
        matches!(error, Error::NotFound(_)),
        &format!("{error:?} is no Error::NotFound"),
    );
    let left = bench.runtime.container_status(&running).await;
    let error = fails(case, "the status of a container that is gone", left);
    check(
        case,
        matches!(error, Error::NotFound(_)),
        &format!("{error:?} is no Error::NotFound"),
    );
}

async fn sandboxes_are_found_by_what_they_are(bench: &Bench<'_>) {
    let case = "sandboxes are found by what they are";
    let (one, other) = (bench.pod(case).await, bench.pod(case).await);
    bench.runtime.stop_sandbox(&other.id).await.unwrap();
    let own = |filter: SandboxFilter| {
        let (one, other) = (&one, &other);
        async move {
            let found = bench.runtime.list_sandboxes(&filter).await.unwrap();
            let ids: Vec<String> = found.into_iter().map(|found| found.id).collect();
            (ids.contains(&one.id), ids.contains(&other.id))
        }
    };
    let none = SandboxFilter::default;
    let label =
        |pod: &super::Pod| BTreeMap::from([("case".to_owned(), pod.config.labels["case"].clone())]);
    let filters = [
        ("no filter", none(), (true, true)),
        (
            "its id",
            SandboxFilter {
                id: Some(one.id.clone()),
                ..none()
            },
            (true, false),
        ),
        (
            "its uid",
            SandboxFilter {
                uid: Some(other.config.metadata.uid.clone()),
                ..none()
            },
            (false, true),
        ),
        (
            "a label",
            SandboxFilter {
                labels: label(&one),
                ..none()
            },
            (true, false),
        ),
        (
            "ready",
            SandboxFilter {
                ready: Some(true),
                labels: label(&one),
                ..none()
            },
            (true, false),
        ),
        (
            "not ready",
            SandboxFilter {
                ready: Some(false),
                labels: label(&one),
                ..none()
            },
            (false, false),
        ),
        (
            "not ready and its label",
            SandboxFilter {
                ready: Some(false),
                labels: label(&other),
                ..none()
            },
            (false, true),
        ),
    ];
    for (what, filter, expected) in filters {
        equal(case, what, own(filter).await, expected);
    }
    let pod = bench.runtime.pod(&one.config.metadata.uid).await.unwrap();
    let ids: Vec<&str> = pod.iter().map(|found| found.id.as_str()).collect();
    equal(case, "the pod", ids, vec![one.id.as_str()]);
    bench.clean(case, one).await;
    bench.clean(case, other).await;
}

async fn what_is_gone_can_be_stopped_and_removed(bench: &Bench<'_>) {
    let case = "what is gone can be stopped and removed";
    let (gone, grace) = ("0123456789abcdef", std::time::Duration::ZERO);
    let runtime = bench.runtime;
    for (what, result) in [
        ("stop_sandbox", runtime.stop_sandbox(gone).await),
        ("remove_sandbox", runtime.remove_sandbox(gone).await),
        ("stop_container", runtime.stop_container(gone, grace).await),
        ("remove_container", runtime.remove_container(gone).await),
    ] {
        equal(case, what, result, Ok(()));
    }
}

async fn each_has_an_address_of_its_own(bench: &Bench<'_>) {
    let case = "each has an address of its own";
    let pods = join_all((0..5).map(|_| bench.pod(case))).await;
    let mut addresses = BTreeSet::new();
    for pod in &pods {
        addresses.insert(status(bench, case, &pod.id).await.ip);
    }
    equal(case, "the number of addresses", addresses.len(), pods.len());
    for pod in pods {
        bench.clean(case, pod).await;
    }
}

async fn the_nodes_network_is_no_address(bench: &Bench<'_>) {
    let case = "the node's network is no address of its own";
    let mut config = bench.config(case);
    config.hostname = String::new();
    config.security.namespaces.network = NamespaceMode::Node;
    let id = bench.runtime.run_sandbox(&config).await.unwrap();
    let found = status(bench, case, &id).await;
    check(case, found.host_network, "it is not on the node's network");
    equal(case, "its address", found.ip.as_str(), "");
    let gone = super::Pod { id, config };
    bench.clean(case, gone).await;
    // What is listed has settled.
    wait(case, "its removal", async || {
        let left = bench
            .runtime
            .list_sandboxes(&SandboxFilter::default())
            .await
            .unwrap();
        let own = left
            .iter()
            .filter(|found| found.metadata.namespace == "conformance");
        (own.count() == 0).then_some(())
    })
    .await;
}
