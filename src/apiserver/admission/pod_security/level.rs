//! Levels and versions, and the labels by which a namespace names them.
use crate::object::field::{Errors, Path};
use std::fmt;

const PREFIX: &str = "pod-security.kubernetes.io/";
/// The minor version that `latest` stands for.
const LATEST: u32 = 36;

/// How much pods may be allowed to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Privileged,
    Baseline,
    Restricted,
}

/// Of which Kubernetes version a level is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    Latest,
    Minor(u32),
}

/// A level of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standard {
    pub level: Level,
    pub version: Version,
}

/// What a namespace wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Policy {
    pub enforce: Standard,
    pub audit: Standard,
    pub warn: Standard,
}

impl Version {
    /// The minor version whose checks apply.
    pub(super) fn minor(self) -> u32 {
        match self {
            Self::Latest => LATEST,
            Self::Minor(minor) => minor,
        }
    }
}

impl fmt::Display for Standard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.level {
            Level::Privileged => "privileged",
            Level::Baseline => "baseline",
            Level::Restricted => "restricted",
        })?;
        match self.version {
            Version::Latest => f.write_str(":latest"),
            Version::Minor(minor) => write!(f, ":v1.{minor}"),
        }
    }
}

const FREE: Standard = Standard {
    level: Level::Privileged,
    version: Version::Latest,
};

impl Policy {
    /// What the labels of a namespace say, and what is wrong with them.
    pub(super) fn of<'a>(namespace: impl Fn(&str) -> Option<&'a str>) -> (Self, Errors) {
        let mut errors = Errors::new();
        // What cannot be read is enforced as strictly as can be, and otherwise ignored.
        let (enforce, enforced, _) = read(&namespace, "enforce", Level::Restricted, &mut errors);
        let (audit, _, _) = read(&namespace, "audit", Level::Privileged, &mut errors);
        let (mut warn, warns, warned_version) =
            read(&namespace, "warn", Level::Privileged, &mut errors);
        if enforced && !warns && enforce.level > warn.level {
            warn.level = enforce.level;
            if !warned_version {
                warn.version = enforce.version;
            }
        }
        let policy = Self {
            enforce,
            audit,
            warn,
        };
        (policy, errors)
    }
}

/// The standard of one mode, and whether its level and its version are given.
fn read<'a>(
    label_of: &impl Fn(&str) -> Option<&'a str>,
    mode: &str,
    otherwise: Level,
    errors: &mut Errors,
) -> (Standard, bool, bool) {
    let mut standard = FREE;
    let path = |label: &str| Path::new("metadata").child("labels").key(label);
    let label = [PREFIX, mode].concat();
    let level = label_of(&label);
    match level {
        None => {}
        Some("privileged") => standard.level = Level::Privileged,
        Some("baseline") => standard.level = Level::Baseline,
        Some("restricted") => standard.level = Level::Restricted,
        Some(other) => {
            standard.level = otherwise;
            let why = "must be one of privileged, baseline, restricted";
            errors.invalid(path(&label), other, why);
        }
    }
    let label = [PREFIX, mode, "-version"].concat();
    let version = label_of(&label);
    if let Some(text) = version {
        let minor = text.strip_prefix("v1.").filter(|digits| {
            digits.bytes().all(|byte| byte.is_ascii_digit())
                && (*digits == "0" || !digits.starts_with('0'))
        });
        match (text, minor.and_then(|digits| digits.parse().ok())) {
            ("latest", _) => {}
            (_, Some(minor)) => standard.version = Version::Minor(minor),
            _ => errors.invalid(path(&label), text, "must be \"latest\" or \"v1.x\""),
        }
    }
    (standard, level.is_some(), version.is_some())
}
