//! The fake held to its word.

use std::time::Duration;

use futures::StreamExt;
use tokio::time::{Instant, sleep};

use super::{FakeRuntime, Script};
use crate::clock::Clock;
use crate::cri::{
    Check, ContainerConfig, ContainerRuntime, ContainerRuntimeExt, ContainerState, Error,
    EventKind, ImageService, SandboxConfig,
};

fn runtime(image: &str, script: Script) -> FakeRuntime {
    let runtime = FakeRuntime::new(Clock::seeded(1), "10.0.0");
    runtime.script(image, script);
    runtime
}

async fn start(runtime: &FakeRuntime, image: &str) -> (String, String) {
    runtime.pull_image(&image.into(), None, None).await.unwrap();
    let mut sandbox = SandboxConfig::default();
    sandbox.metadata.name = "p".into();
    let config = ContainerConfig {
        name: "c".into(),
        image: image.into(),
        ..ContainerConfig::default()
    };
    let id = runtime.run_sandbox(&sandbox).await.unwrap();
    let container = runtime.create_container(&id, &config, &sandbox).await;
    let container = container.unwrap();
    runtime.start_container(&container).await.unwrap();
    (id, container)
}

#[tokio::test(start_paused = true)]
async fn containers_do_what_their_script_says() {
    let runtime = runtime(
        "crashes",
        Script::default().exits(Duration::from_secs(5), 3),
    );
    let mut events = runtime.events();
    let (sandbox, _) = start(&runtime, "crashes").await;
    let told = events.next().await.unwrap();
    assert_eq!((&*told.name, told.kind), ("p", EventKind::Changed));
    let told = events.next().await.unwrap();
    assert_eq!((&*told.name, told.kind), ("p", EventKind::Stopped));
    let listed = runtime.pods().await.unwrap();
    assert_eq!(listed[0].ip, "10.0.0.2");
    assert!(matches!(
        listed[0].containers[0].state,
        ContainerState::Exited { code: 3, .. }
    ));
    runtime.remove_sandbox(&sandbox).await.unwrap();
    assert!(runtime.pods().await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn stopping_takes_its_time_and_then_kills() {
    let runtime = runtime(
        "slow",
        Script::default().stop_takes(Duration::from_secs(60)),
    );
    let (_, id) = start(&runtime, "slow").await;
    let begun = Instant::now();
    let grace = Duration::from_secs(30);
    runtime.stop_container(&id, grace).await.unwrap();
    assert_eq!(begun.elapsed(), grace);
    let found = runtime.container_status(&id).await.unwrap();
    assert!(matches!(
        found.state,
        ContainerState::Exited { code: 137, .. }
    ));
}

#[tokio::test(start_paused = true)]
async fn pulls_fail_and_checks_wait() {
    let runtime = runtime("absent", Script::default().pull_fails("not found"));
    assert!(matches!(
        runtime.pull_image(&"absent".into(), None, None).await,
        Err(Error::Image { .. })
    ));
    runtime.script(
        "late",
        Script::default().healthy_after(Duration::from_secs(10)),
    );
    let (_, id) = start(&runtime, "late").await;
    let check = Check::Tcp {
        host: String::new(),
        port: 1,
    };
    let healthy = || runtime.check(&id, &check, Duration::ZERO);
    assert_eq!(healthy().await, Ok(Some(false)));
    sleep(Duration::from_secs(10)).await;
    assert_eq!(healthy().await, Ok(Some(true)));
}

#[tokio::test(start_paused = true)]
async fn one_that_is_down_answers_nothing_and_comes_back() {
    let runtime = runtime("i", Script::default());
    let (_, id) = start(&runtime, "i").await;
    runtime.down(Some("no such socket"));
    let down = Err(Error::Unavailable("no such socket".to_owned()));
    assert_eq!(runtime.container_status(&id).await.map(|_| ()), down);
    assert_eq!(runtime.version().await.map(|_| ()), down);
    runtime.down(None);
    let found = runtime.container_status(&id).await.unwrap();
    assert!(matches!(found.state, ContainerState::Running { .. }));
}
