//! What containers of an image do.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::cri::{ExecOutput, ImageAuth};

/// What containers of an image do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    pub(super) pull_delay: Duration,
    pub(super) pull_error: Option<String>,
    pub(super) auth: Option<(String, String)>,
    pub(super) size: u64,
    pub(super) user: String,
    pub(super) start_error: Option<String>,
    pub(super) exit: Option<(Duration, i32, String)>,
    pub(super) healthy_after: Duration,
    pub(super) healthy: bool,
    pub(super) stop_delay: Duration,
    pub(super) message: String,
    /// What commands do, by their first word.
    pub(super) commands: BTreeMap<String, (Duration, ExecOutput)>,
    /// Lines of the log: how long after the start, on which stream, what.
    pub(super) prints: Vec<(Duration, &'static str, String)>,
    pub(super) ports: Vec<u16>,
    pub(super) nanocores: u64,
    pub(super) memory: u64,
    pub(super) disk: u64,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            pull_delay: Duration::ZERO,
            pull_error: None,
            auth: None,
            size: 1 << 20,
            user: String::new(),
            start_error: None,
            exit: None,
            healthy_after: Duration::ZERO,
            healthy: true,
            stop_delay: Duration::ZERO,
            message: String::new(),
            commands: BTreeMap::new(),
            prints: Vec::new(),
            ports: Vec::new(),
            nanocores: 0,
            memory: 0,
            disk: 0,
        }
    }
}

impl Script {
    /// A pull takes this long. Default = no time.
    #[must_use]
    pub fn pull_takes(mut self, delay: Duration) -> Self {
        self.pull_delay = delay;
        self
    }

    /// Pulls fail. Default = they do not.
    #[must_use]
    pub fn pull_fails(mut self, why: impl Into<String>) -> Self {
        self.pull_error = Some(why.into());
        self
    }

    /// Pulls succeed only for this user. Default = for anyone.
    #[must_use]
    pub fn needs_auth(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.auth = Some((user.into(), password.into()));
        self
    }

    /// The image takes this many bytes. Default = 1 MiB.
    #[must_use]
    pub fn image_size(mut self, bytes: u64) -> Self {
        self.size = bytes;
        self
    }

    /// The user that the image names, a number or a name. Default = none.
    #[must_use]
    pub fn image_user(mut self, user: impl Into<String>) -> Self {
        self.user = user.into();
        self
    }

    /// Containers do not start. Default = they do.
    #[must_use]
    pub fn start_fails(mut self, why: impl Into<String>) -> Self {
        self.start_error = Some(why.into());
        self
    }

    /// Containers end by themselves after this long with this code. Default = they run for ever.
    #[must_use]
    pub fn exits(mut self, after: Duration, code: i32) -> Self {
        let reason = if code == 0 { "Completed" } else { "Error" };
        self.exit = Some((after, code, reason.to_owned()));
        self
    }

    /// Containers are killed for want of memory after this long.
    #[must_use]
    pub fn runs_out_of_memory(mut self, after: Duration) -> Self {
        self.exit = Some((after, 137, "OOMKilled".to_owned()));
        self
    }

    /// Checks succeed only this long after the start. Default = at once.
    #[must_use]
    pub fn healthy_after(mut self, delay: Duration) -> Self {
        self.healthy_after = delay;
        self
    }

    /// Checks fail. Default = they succeed.
    #[must_use]
    pub fn unhealthy(mut self) -> Self {
        self.healthy = false;
        self
    }

    /// Containers leave this termination message when they end. Default = none.
    #[must_use]
    pub fn says(mut self, message: impl Into<String>) -> Self {
        self.message = message.into();
        self
    }

    /// Commands whose first word is `program` take this long in a container (hooks, probes, `exec`) and then exit with
    /// `code`, having printed `stderr`. Default = they succeed at once if the container is healthy.
    #[must_use]
    pub fn command(
        self,
        program: impl Into<String>,
        takes: Duration,
        code: i32,
        stderr: &str,
    ) -> Self {
        let output = ExecOutput {
            code,
            stderr: stderr.as_bytes().to_vec(),
            ..ExecOutput::default()
        };
        self.answers(program, takes, output)
    }

    /// The same with all that the command prints.
    #[must_use]
    pub fn answers(
        mut self,
        program: impl Into<String>,
        takes: Duration,
        output: ExecOutput,
    ) -> Self {
        self.commands.insert(program.into(), (takes, output));
        self
    }

    /// Containers take this long to end when asked to. Default = no time.
    #[must_use]
    pub fn stop_takes(mut self, delay: Duration) -> Self {
        self.stop_delay = delay;
        self
    }

    /// Containers print this line so long after their start. Default = nothing.
    #[must_use]
    pub fn prints(mut self, after: Duration, line: impl Into<String>) -> Self {
        self.prints.push((after, "stdout", line.into()));
        self
    }

    /// Containers complain with this line so long after their start. Default = nothing.
    #[must_use]
    pub fn complains(mut self, after: Duration, line: impl Into<String>) -> Self {
        self.prints.push((after, "stderr", line.into()));
        self
    }

    /// Containers listen on this port too, and send back what they receive. Default = on none.
    #[must_use]
    pub fn listens(mut self, port: u16) -> Self {
        self.ports.push(port);
        self
    }

    /// Running containers use this: billionths of a core, bytes of memory, bytes of their own layer. Default = nothing.
    #[must_use]
    pub fn uses(mut self, nanocores: u64, memory: u64, disk: u64) -> Self {
        (self.nanocores, self.memory, self.disk) = (nanocores, memory, disk);
        self
    }

    /// Whether these credentials are good for a pull.
    pub(super) fn lets_in(&self, auth: Option<&ImageAuth>) -> bool {
        let Some((user, password)) = &self.auth else {
            return true;
        };
        auth.is_some_and(|auth| {
            let pair = (auth.username.as_str(), auth.password.as_str());
            pair == (user.as_str(), password.as_str())
        })
    }
}
