//! Lifecycle hooks: what is run right after a container starts and right before it is stopped.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container as Spec, LifecycleHandler, Pod};
use tokio::time::sleep;

use super::full_name;
use super::host::Answer;
use super::probe::{self, Ask};

/// How long a request of a hook may take.
const REQUEST: Duration = Duration::from_secs(30);

/// Runs a hook in the container `id`.
///
/// # Errors
/// What went wrong, in the words of the real kubelet.
pub(super) async fn run(
    ask: &Ask<'_>,
    pod: &Pod,
    container: &Spec,
    id: &str,
    hook: &LifecycleHandler,
) -> Result<(), String> {
    let of = |what: &str, detail: &str| {
        let (name, pod) = (&container.name, full_name(pod));
        format!("{what} lifecycle hook ({detail}) for Container {name:?} in Pod {pod:?} failed")
    };
    if let Some(exec) = &hook.exec {
        let command = exec.command.clone().unwrap_or_default();
        let words = command.join(" ");
        let failed = |error: String, said: &str| {
            let start = of("Exec", &format!("[{words}]"));
            format!("{start} - error: {error}, message: {said:?}")
        };
        return match ask.runtime.exec_sync(id, &command, Duration::ZERO).await {
            Ok(output) if output.code == 0 => Ok(()),
            Ok(output) => {
                let said = [output.stdout, output.stderr].concat();
                let said = String::from_utf8_lossy(&said);
                let error = format!("command '{words}' exited with {}: {said}", output.code);
                Err(failed(error, &said))
            }
            Err(error) => Err(failed(error.to_string(), "")),
        };
    }
    if let Some(get) = &hook.http_get {
        let start = of("HTTP", get.path.as_deref().unwrap_or_default());
        let Some(check) = probe::http(container, get) else {
            return Err(format!(
                "{start} - error: couldn't find port: {:?}",
                get.port
            ));
        };
        return match ask.check(id, &check, REQUEST).await {
            // A runtime that pretends does not say more.
            Ok(Answer::Unwell(why)) if why.is_empty() => {
                Err(format!("{start} - error: the request failed"))
            }
            // Any answer is good: the request was made.
            Ok(_) => Ok(()),
            Err(error) => Err(format!("{start} - error: {error}")),
        };
    }
    if let Some(nap) = &hook.sleep {
        sleep(Duration::from_secs(u64::try_from(nap.seconds).unwrap_or(0))).await;
        return Ok(());
    }
    // A TCP handler is accepted by the API for old manifests' sake; no kubelet can run it.
    Err("Cannot run handler: invalid handler".to_owned())
}
