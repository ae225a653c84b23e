//! A shell whose kubectl talks to one cluster.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A directory with a kubeconfig, and what runs in it. Gone with all that is in it when dropped.
pub(crate) struct Shell {
    dir: PathBuf,
}

impl Shell {
    /// A new one; `name` is the test's.
    pub(crate) fn new(name: &str) -> Self {
        let dir =
            std::env::temp_dir().join(format!("homeostat-real-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        Self { dir }
    }

    /// Starts a command that goes on beside the test, until the returned value is dropped.
    pub(crate) fn start(&self, command: &str) -> Running {
        let child = Command::new("sh")
            .args(["-c", &format!("exec {command}")])
            .current_dir(&self.dir)
            .env("KUBECONFIG", self.dir.join("kubeconfig"))
            .env("HOME", &self.dir)
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        Running(child)
    }

    /// Writes a file where commands run.
    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    fn run(&self, command: &str) -> Output {
        // Nobody's own configuration, no colours, no cache of another server's discovery.
        let output = Command::new("sh")
            .args(["-c", command])
            .current_dir(&self.dir)
            .env("KUBECONFIG", self.dir.join("kubeconfig"))
            .env("HOME", &self.dir)
            .env("TZ", "UTC")
            .output()
            .unwrap();
        assert_ne!(
            output.status.code(),
            Some(127),
            "kubectl is needed: scripts/test installs it ({})",
            String::from_utf8_lossy(&output.stderr)
        );
        output
    }

    /// What a command prints; it must succeed.
    #[track_caller]
    pub(crate) fn ok(&self, command: &str) -> String {
        let output = self.run(command);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "$ {command}\n{text}{errors}");
        text
    }

    /// What a command says when it fails, as it must.
    #[track_caller]
    pub(crate) fn fails(&self, command: &str) -> String {
        let output = self.run(command);
        let text = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "$ {command}\n{text}");
        errors
    }

    /// A command prints these lines and no others. Words are compared, not the space between them; `*` in a word stands for
    /// anything.
    #[track_caller]
    pub(crate) fn prints(&self, command: &str, expected: &[&str]) {
        let found = self.ok(command);
        same(command, &found, expected);
    }

    /// A command fails with these lines.
    #[track_caller]
    pub(crate) fn refuses(&self, command: &str, expected: &[&str]) {
        let found = self.fails(command);
        same(command, &found, expected);
    }

    /// A command prints these lines among others, in this order.
    #[track_caller]
    pub(crate) fn shows(&self, command: &str, expected: &[&str]) {
        let found = self.ok(command);
        let mut lines = found.lines();
        for line in expected {
            assert!(
                lines.any(|found| matches(found, line)),
                "$ {command}\nno line (after those before it): {line}\n{found}"
            );
        }
    }

    /// The directory in which commands run.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }
}

/// A command that goes on.
pub(crate) struct Running(std::process::Child);

impl Running {
    /// The next line that it prints.
    pub(crate) fn line(&mut self) -> String {
        let mut line = Vec::new();
        let out = self.0.stdout.as_mut().unwrap();
        let mut byte = [0];
        while out.read(&mut byte).unwrap() == 1 && byte[0] != b'\n' {
            line.push(byte[0]);
        }
        String::from_utf8(line).unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended cannot be ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        // What is left is in the directory for temporary files.
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

#[track_caller]
fn same(command: &str, found: &str, expected: &[&str]) {
    let lines: Vec<&str> = found
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    let all = lines.len() == expected.len()
        && lines
            .iter()
            .zip(expected)
            .all(|(found, line)| matches(found, line));
    assert!(
        all,
        "$ {command}\n{found}\nexpected:\n{}",
        expected.join("\n")
    );
}

fn matches(found: &str, expected: &str) -> bool {
    let found: Vec<&str> = found.split_whitespace().collect();
    let expected: Vec<&str> = expected.split_whitespace().collect();
    found.len() == expected.len()
        && found
            .iter()
            .zip(&expected)
            .all(|(found, word)| match word.split_once('*') {
                Some((start, end)) => {
                    found.len() + 1 >= word.len()
                        && found.starts_with(start)
                        && found.ends_with(end)
                }
                _ => found == word,
            })
}
