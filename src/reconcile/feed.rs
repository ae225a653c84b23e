//! Fills a cache: lists, watches, resumes, lists again.

use std::time::Duration;

use tokio::time::sleep;

use super::cache::{Cache, Object};
use crate::client::{self, Frame, Path};
use crate::clock::Clock;

/// How many objects are listed at once.
const PAGE: usize = 500;
/// Failures are backed off from this …
const FIRST_PAUSE: Duration = Duration::from_millis(800);
/// … to this, doubling (client-go's reflector), lengthened by chance.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Runs until it is dropped.
pub(super) async fn feed<K: Object>(client: kube::Client, cache: Cache<K>, clock: Clock) {
    let path = Path::of::<K>();
    let mut pause = FIRST_PAUSE;
    loop {
        match follow(&client, &path, &cache, &mut pause).await {
            // Compacted: list again at once.
            Ok(()) => {}
            Err(error) => {
                tracing::warn!(kind = %K::kind(&()), %error, "the watch failed; trying again");
                sleep(clock.jitter(pause, 1.0)).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// Lists once, then watches for as long as the server keeps the history. `Ok`: it no longer does.
async fn follow<K: Object>(
    client: &kube::Client,
    path: &Path,
    cache: &Cache<K>,
    pause: &mut Duration,
) -> Result<(), kube::Error> {
    let listed = client::list::<K>(client, path, PAGE).await?;
    let mut revision = listed.resource_version;
    cache.replace(listed.items, &revision);
    loop {
        let mut watch = match client::watch(client, path, &revision).await {
            Err(error) if client::is_expired(&error) => return Ok(()),
            other => other?,
        };
        loop {
            let frame = match watch.next::<K>().await {
                Err(error) if client::is_expired(&error) => return Ok(()),
                other => other?,
            };
            *pause = FIRST_PAUSE;
            match frame {
                Some(Frame::Applied(object)) => {
                    revision = object.meta().resource_version.clone().unwrap_or(revision);
                    cache.apply(object);
                }
                Some(Frame::Deleted(object)) => {
                    revision = object.meta().resource_version.clone().unwrap_or(revision);
                    cache.remove(&object);
                }
                Some(Frame::Bookmark(at)) => {
                    cache.bookmark(&at);
                    revision = at;
                }
                None => break,
            }
        }
        // A server that ends watches at once must not be asked in a tight loop.
        sleep(Duration::from_millis(1)).await;
    }
}
