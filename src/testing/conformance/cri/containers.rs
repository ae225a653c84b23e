//! Containers.

use std::time::Duration;

use futures::StreamExt;
use tokio::time::Instant;

use super::{Bench, PATIENCE, check, equal, fails, wait};
use crate::cri::{
    ContainerConfig, ContainerFilter, ContainerPhase, ContainerRuntimeExt, ContainerState, Error,
    EventKind, LinuxResources, SandboxFilter, bare_id, labels,
};

pub(super) async fn run(bench: &Bench<'_>) {
    containers_live_and_die(bench).await;
    containers_are_found_by_what_they_are(bench).await;
    ends_are_told(bench).await;
    what_cannot_start_says_so(bench).await;
    an_absent_image_makes_no_container(bench).await;
    a_name_is_taken_once(bench).await;
    the_stubborn_are_killed(bench).await;
    commands_give_their_code_and_output(bench).await;
    commands_are_cut_short(bench).await;
    uses_are_measured(bench).await;
    resources_change(bench).await;
    what_happens_is_told(bench).await;
    logs_are_written_and_reopened(bench).await;
}

async fn containers_live_and_die(bench: &Bench<'_>) {
    let case = "containers live and die";
    let pod = bench.pod(case).await;
    let mut config = bench.subject.runs.clone();
    config.attempt = 2;
    config.annotations.insert("a".into(), "b".into());
    config.labels.insert("tier".into(), "front".into());
    let id = bench.create(case, &pod, &config).await;
    check(case, id.contains("://"), "its id has no scheme");
    let found = bench.container(case, &id).await;
    equal(case, "its state", &found.state, &ContainerState::Created);
    equal(case, "its id", &found.id, &id);
    bench.runtime.start_container(&id).await.unwrap();
    let found = bench.container(case, &id).await;
    let is_running =
        matches!(found.state, ContainerState::Running { started } if started >= found.created);
    check(
        case,
        is_running,
        &format!("{:?} is not Running since its start", found.state),
    );
    equal(
        case,
        "its name",
        (&*found.name, found.attempt),
        (&*config.name, 2),
    );
    equal(case, "its image", &found.image, &config.image);
    check(case, !found.image_id.is_empty(), "its image has no id");
    equal(
        case,
        "its annotations",
        &found.annotations,
        &config.annotations,
    );
    for (label, value) in [
        ("tier", "front"),
        (labels::CONTAINER_NAME, &config.name),
        (labels::POD_UID, &pod.config.metadata.uid),
        (labels::POD_NAME, &pod.config.metadata.name),
    ] {
        let has = found.labels.get(label).map(String::as_str);
        equal(case, label, has, Some(value));
    }
    let again = bench.runtime.start_container(&id).await;
    fails(case, "a second start", again);
    let bare = bench.container(case, bare_id(&id)).await;
    equal(case, "the container of the bare id", bare.id, id.clone());
    for time in ["first", "second"] {
        let stopped = bench.runtime.stop_container(&id, PATIENCE).await;
        check(
            case,
            stopped.is_ok(),
            &format!("the {time} stop fails: {stopped:?}"),
        );
        let found = bench.container(case, &id).await;
        let is_ended = matches!(found.state, ContainerState::Exited { started, finished, .. } if finished >= started);
        check(case, is_ended, &format!("{:?} is not Exited", found.state));
    }
    for time in ["first", "second"] {
        let removed = bench.runtime.remove_container(&id).await;
        check(case, removed.is_ok(), &format!("the {time} removal fails"));
    }
    let error = fails(
        case,
        "the status of what is gone",
        bench.runtime.container_status(&id).await,
    );
    check(
        case,
        matches!(error, Error::NotFound(_)),
        &format!("{error:?} is no Error::NotFound"),
    );
    // One that runs can be removed, too.
    let running = bench.start(case, &pod, &bench.subject.runs).await;
    bench.runtime.remove_container(&running).await.unwrap();
    let left = bench.runtime.pod(&pod.config.metadata.uid).await.unwrap();
    let left: usize = left.iter().map(|sandbox| sandbox.containers.len()).sum();
    equal(case, "what is left", left, 0);
    bench.clean(case, pod).await;
}

async fn containers_are_found_by_what_they_are(bench: &Bench<'_>) {
    let case = "containers are found by what they are";
    let pod = bench.pod(case).await;
    let running = bench.start(case, &pod, &bench.subject.runs).await;
    let config = ContainerConfig {
        name: "made".to_owned(),
        ..bench.subject.runs.clone()
    };
    let made = bench.create(case, &pod, &config).await;
    let uid = || Some(pod.config.metadata.uid.clone());
    let none = ContainerFilter::default;
    let both = vec![running.as_str(), made.as_str()];
    let filters = [
        (
            "the pod",
            ContainerFilter {
                uid: uid(),
                ..none()
            },
            both.clone(),
        ),
        (
            "the sandbox",
            ContainerFilter {
                sandbox: Some(pod.id.clone()),
                ..none()
            },
            both,
        ),
        (
            "the id",
            ContainerFilter {
                id: Some(made.clone()),
                ..none()
            },
            vec![made.as_str()],
        ),
        (
            "running",
            ContainerFilter {
                phase: Some(ContainerPhase::Running),
                uid: uid(),
                ..none()
            },
            vec![running.as_str()],
        ),
        (
            "created",
            ContainerFilter {
                phase: Some(ContainerPhase::Created),
                uid: uid(),
                ..none()
            },
            vec![made.as_str()],
        ),
        (
            "ended",
            ContainerFilter {
                phase: Some(ContainerPhase::Exited),
                uid: uid(),
                ..none()
            },
            vec![],
        ),
    ];
    for (what, filter, expected) in filters {
        let found = bench.runtime.list_containers(&filter).await.unwrap();
        let ids: Vec<&str> = found.iter().map(|found| found.id.as_str()).collect();
        equal(case, what, ids, expected);
    }
    let detailed = bench.runtime.pod(&pod.config.metadata.uid).await.unwrap();
    let detailed: Vec<&str> = detailed[0]
        .containers
        .iter()
        .map(|found| found.id.as_str())
        .collect();
    equal(
        case,
        "the containers of the pod",
        detailed,
        vec![running.as_str(), made.as_str()],
    );
    bench.clean(case, pod).await;
}

async fn ends_are_told(bench: &Bench<'_>) {
    let case = "ends are told";
    let pod = bench.pod(case).await;
    let id = bench.start(case, &pod, &bench.subject.fails).await;
    let found = bench.until(case, &id, ContainerPhase::Exited).await;
    // Of one that ends at once a runtime may note the end before the start.
    if let ContainerState::Exited { code, reason, .. } = found.state {
        equal(case, "the code", code, 3);
        equal(case, "the reason", reason.as_str(), "Error");
    }
    bench.clean(case, pod).await;
}

async fn what_cannot_start_says_so(bench: &Bench<'_>) {
    let case = "what cannot start says so";
    let pod = bench.pod(case).await;
    let id = bench.create(case, &pod, &bench.subject.broken).await;
    let error = fails(case, "a start", bench.runtime.start_container(&id).await);
    check(
        case,
        matches!(error, Error::Start { .. }),
        &format!("{error:?} is no Error::Start"),
    );
    let found = bench.until(case, &id, ContainerPhase::Exited).await;
    let is_failed = matches!(found.state, ContainerState::Exited { code, .. } if code != 0);
    check(case, is_failed, &format!("{:?} is no failure", found.state));
    bench.clean(case, pod).await;
}

async fn an_absent_image_makes_no_container(bench: &Bench<'_>) {
    let case = "an absent image makes no container";
    let pod = bench.pod(case).await;
    let config = ContainerConfig {
        image: bench.subject.absent.image.clone(),
        ..bench.subject.runs.clone()
    };
    let made = bench
        .runtime
        .create_container(&pod.id, &config, &pod.config)
        .await;
    let error = fails(case, "create_container", made);
    let is_told = matches!(error, Error::NotFound(_) | Error::Create { .. });
    check(
        case,
        is_told,
        &format!("{error:?} is neither NotFound nor Create"),
    );
    bench.clean(case, pod).await;
}

async fn a_name_is_taken_once(bench: &Bench<'_>) {
    let case = "a name and attempt are taken once";
    let pod = bench.pod(case).await;
    let config = &bench.subject.runs;
    let first = bench.create(case, &pod, config).await;
    let second = bench
        .runtime
        .create_container(&pod.id, config, &pod.config)
        .await;
    let error = fails(case, "a second container of the name", second);
    check(
        case,
        matches!(error, Error::Create { .. }),
        &format!("{error:?} is no Error::Create"),
    );
    bench.runtime.remove_container(&first).await.unwrap();
    bench.create(case, &pod, config).await;
    bench.clean(case, pod).await;
}

async fn the_stubborn_are_killed(bench: &Bench<'_>) {
    let case = "the stubborn are killed";
    let pod = bench.pod(case).await;
    let id = bench.start(case, &pod, &bench.subject.stubborn).await;
    let (begun, grace) = (Instant::now(), Duration::from_secs(2));
    bench.runtime.stop_container(&id, grace).await.unwrap();
    let took = begun.elapsed();
    check(
        case,
        took >= grace,
        &format!("it was killed after {took:?}"),
    );
    check(
        case,
        took < PATIENCE,
        &format!("it was killed only after {took:?}"),
    );
    let found = bench.container(case, &id).await;
    let is_killed = matches!(found.state, ContainerState::Exited { code: 137, .. });
    check(
        case,
        is_killed,
        &format!("{:?} is not by a kill", found.state),
    );
    bench.clean(case, pod).await;
}

async fn commands_give_their_code_and_output(bench: &Bench<'_>) {
    let case = "commands give their code and output";
    let pod = bench.pod(case).await;
    let id = bench.start(case, &pod, &bench.subject.runs).await;
    let (command, expected) = &bench.subject.command;
    let output = bench.runtime.exec_sync(&id, command, PATIENCE).await;
    equal(case, "what it gave", output.as_ref(), Ok(expected));
    let output = bench.runtime.exec_sync(&id, command, Duration::ZERO).await;
    equal(
        case,
        "what it gave without a limit",
        output.as_ref(),
        Ok(expected),
    );
    bench.runtime.stop_container(&id, PATIENCE).await.unwrap();
    fails(
        case,
        "a command in an ended container",
        bench.runtime.exec_sync(&id, command, PATIENCE).await,
    );
    let gone = bench
        .runtime
        .exec_sync("0123456789abcdef", command, PATIENCE)
        .await;
    let error = fails(case, "a command nowhere", gone);
    check(
        case,
        matches!(error, Error::NotFound(_)),
        &format!("{error:?} is no Error::NotFound"),
    );
    bench.clean(case, pod).await;
}

async fn commands_are_cut_short(bench: &Bench<'_>) {
    let case = "commands are cut short";
    let pod = bench.pod(case).await;
    let id = bench.start(case, &pod, &bench.subject.runs).await;
    let (begun, limit) = (Instant::now(), Duration::from_secs(1));
    let output = bench
        .runtime
        .exec_sync(&id, &bench.subject.slow, limit)
        .await;
    let error = fails(case, "a slow command", output);
    equal(case, "the error", error, Error::Timeout(limit));
    let took = begun.elapsed();
    let is_prompt = took >= limit && took < Duration::from_secs(8);
    check(case, is_prompt, &format!("it took {took:?}"));
    bench.clean(case, pod).await;
}

async fn uses_are_measured(bench: &Bench<'_>) {
    let case = "uses are measured";
    let pod = bench.pod(case).await;
    let id = bench.start(case, &pod, &bench.subject.runs).await;
    let found = wait(case, "statistics", async || {
        let found = bench.runtime.container_stats(&id).await.unwrap();
        let memory = found.memory.as_ref().and_then(|memory| memory.working_set);
        (memory.is_some() && found.cpu.is_some()).then_some(found)
    })
    .await;
    equal(
        case,
        "whose they are",
        (&found.id, &found.name),
        (&id, &bench.subject.runs.name),
    );
    let memory = found.memory.and_then(|memory| memory.working_set);
    check(case, memory > Some(0), "no memory is used");
    let time = found.cpu.and_then(|cpu| cpu.core_nanoseconds);
    check(case, time.is_some(), "no processor time is told");
    let all = bench.runtime.list_container_stats().await.unwrap();
    check(
        case,
        all.iter().any(|stats| stats.id == id),
        "it is not in the list",
    );
    let sandbox = bench.runtime.sandbox_stats(&pod.id).await.unwrap();
    equal(case, "the sandbox", &sandbox.metadata, &pod.config.metadata);
    let within = sandbox.containers.iter().any(|stats| stats.id == id);
    check(case, within, "it is not in its sandbox's statistics");
    let filter = SandboxFilter {
        id: Some(pod.id.clone()),
        ..SandboxFilter::default()
    };
    let listed = bench.runtime.list_sandbox_stats(&filter).await.unwrap();
    let listed: Vec<&str> = listed.iter().map(|stats| stats.id.as_str()).collect();
    equal(
        case,
        "the sandboxes in the list",
        listed,
        vec![pod.id.as_str()],
    );
    bench.clean(case, pod).await;
}

async fn resources_change(bench: &Bench<'_>) {
    let case = "resources change while it runs";
    let pod = bench.pod(case).await;
    let config = ContainerConfig {
        resources: LinuxResources {
            cpu_shares: 102,
            memory_limit: 64 << 20,
            ..LinuxResources::default()
        },
        ..bench.subject.runs.clone()
    };
    let id = bench.start(case, &pod, &config).await;
    let more = LinuxResources {
        cpu_shares: 512,
        memory_limit: 128 << 20,
        ..LinuxResources::default()
    };
    bench.runtime.update_container(&id, &more).await.unwrap();
    let found = bench.container(case, &id).await;
    check(
        case,
        found.state.phase() == ContainerPhase::Running,
        "it does not run any more",
    );
    if let Some(resources) = found.resources {
        let told = (resources.cpu_shares, resources.memory_limit);
        equal(case, "what it may use", told, (512, 128 << 20));
    }
    bench.clean(case, pod).await;
}

async fn what_happens_is_told(bench: &Bench<'_>) {
    let case = "what happens is told";
    let old = bench.pod(case).await;
    let mut events = bench.runtime.events();
    let uid = |pod: &super::Pod| pod.config.metadata.uid.clone();
    // What was there before is told of first.
    let mut told = async |uid: String, kinds: &[EventKind]| {
        let wanted = async {
            while let Some(event) = events.next().await {
                if event.uid == uid && kinds.contains(&event.kind) {
                    return Some(event);
                }
            }
            None
        };
        let event = tokio::time::timeout(PATIENCE, wanted).await;
        let Ok(Some(event)) = event else {
            panic!("{case}: waited {PATIENCE:?} for {kinds:?}")
        };
        event
    };
    told(uid(&old), &[EventKind::Changed]).await;
    let pod = bench.pod(case).await;
    let id = bench.start(case, &pod, &bench.subject.fails).await;
    let event = told(uid(&pod), &[EventKind::Stopped]).await;
    equal(case, "the container that ended", &event.container, &id);
    let of = (event.namespace, event.name);
    let metadata = pod.config.metadata.clone();
    equal(case, "the pod", of, (metadata.namespace, metadata.name));
    bench.runtime.remove_container(&id).await.unwrap();
    told(uid(&pod), &[EventKind::Deleted]).await;
    bench.clean(case, pod).await;
    bench.clean(case, old).await;
}

async fn logs_are_written_and_reopened(bench: &Bench<'_>) {
    let case = "logs are written and reopened";
    let Some((_, expected)) = &bench.subject.logs else {
        return;
    };
    let pod = bench.pod(case).await;
    let config = ContainerConfig {
        log_path: "c/0.log".to_owned(),
        ..bench.subject.fails.clone()
    };
    files::create_dir(&format!("{}/c", pod.config.log_directory));
    let id = bench.start(case, &pod, &config).await;
    let found = bench.until(case, &id, ContainerPhase::Exited).await;
    let path = format!("{}/c/0.log", pod.config.log_directory);
    equal(case, "the log's path", &found.log_path, &path);
    let written = wait(case, "the log", async || {
        let text = files::read(&path);
        text.contains('\n').then_some(text)
    })
    .await;
    let line = written.lines().next().unwrap_or_default();
    check(
        case,
        line.ends_with(expected),
        &format!("{line:?} does not end with {expected:?}"),
    );
    let running = ContainerConfig {
        name: "runs".to_owned(),
        log_path: "c/1.log".to_owned(),
        ..bench.subject.runs.clone()
    };
    let id = bench.start(case, &pod, &running).await;
    let path = format!("{}/c/1.log", pod.config.log_directory);
    files::rename(&path, &format!("{path}.1"));
    bench.runtime.reopen_log(&id).await.unwrap();
    check(
        case,
        std::path::Path::new(&path).exists(),
        "there is no new log",
    );
    bench.clean(case, pod).await;
}

/// Files, without a runtime's help.
mod files {
    pub(super) fn create_dir(path: &str) {
        std::fs::create_dir_all(path).unwrap();
    }

    pub(super) fn read(path: &str) -> String {
        std::fs::read_to_string(path).unwrap_or_default()
    }

    pub(super) fn rename(from: &str, to: &str) {
        std::fs::rename(from, to).unwrap();
    }
}
