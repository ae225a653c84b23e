//! What the fake's containers have printed, by their script.

use tokio::time::Instant;

use super::{FakeContainer, Inner, State};

impl Inner {
    /// The log so far, in the format of log files.
    pub(super) fn printed(&self, state: &State, container: &FakeContainer) -> Vec<u8> {
        let Some((_, started)) = container.started else {
            return Vec::new();
        };
        let now = Instant::now();
        let until = container.exit.as_ref().map_or(now, |exit| exit.at.min(now));
        let script = state.script(&container.config.image);
        let mut lines: Vec<_> = script
            .prints
            .iter()
            .filter(|(after, ..)| started + *after <= until)
            .collect();
        lines.sort_by_key(|(after, ..)| *after);
        let lines = lines.iter().map(|(after, stream, text)| {
            let time = self.clock.at(started + *after);
            format!(
                "{} {stream} F {text}\n",
                time.strftime("%Y-%m-%dT%H:%M:%S%.9fZ")
            )
        });
        lines.collect::<String>().into_bytes()
    }
}
