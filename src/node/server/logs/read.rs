//! Reads a log from where it begins to interest, and goes on as it grows, across rotations.
//!
//! Files are read in small steps on the runtime's own threads: what was just written is in memory.
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::LogOptions;
use crate::node::server::Inner;

/// How much is read at a time.
const STEP: usize = 64 << 10;
/// How often one who follows looks for more.
const LOOK: Duration = Duration::from_millis(200);
/// After how many looks it asks whether the container still runs.
const ASK: u32 = 5;
/// How often it looks for a log that is not there, which one that is being moved away is not for a moment.
const MISSING: u32 = 5;

/// Where a log is.
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// In a file.
    File(PathBuf),
    /// With a runtime that writes no files: of the container of this id.
    Runtime(String),
}

/// Reads a log.
pub(super) struct Follower {
    node: Arc<Inner>,
    container: String,
    source: Source,
    file: Option<File>,
    /// How far it was read.
    at: u64,
    follow: bool,
    /// Whether the container has ended, so that nothing is written any more.
    ended: bool,
    looks: u32,
}

impl Follower {
    /// Begins where the wanted lines begin.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) async fn open(
        node: Arc<Inner>,
        container: String,
        source: Source,
        options: &LogOptions,
    ) -> io::Result<Self> {
        let mut follower = Self {
            node,
            container,
            source,
            file: None,
            at: 0,
            follow: options.follow,
            ended: false,
            looks: 0,
        };
        if let Source::File(path) = &follower.source {
            let mut file = opened(path).await?;
            if let Some(tail) = options.tail {
                follower.at = start_of_tail(&mut file, tail)?;
            }
            follower.file = Some(file);
        } else if let Some(tail) = options.tail {
            let log = follower.whole().await;
            let start = start_of_tail(&mut io::Cursor::new(log), tail)?;
            follower.at = start;
        }
        Ok(follower)
    }

    /// What was written next. `None` when there is no more; one who follows waits for it.
    pub(super) async fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            let read = self.read().await;
            if !read.is_empty() {
                self.at += read.len() as u64;
                return Some(read);
            }
            if self.turn() {
                continue;
            }
            if !self.follow || self.ended {
                return None;
            }
            self.looks += 1;
            if self.looks.is_multiple_of(ASK) && !self.node.is_running(&self.container).await {
                // What it wrote last is still read.
                self.ended = true;
                continue;
            }
            sleep(LOOK).await;
        }
    }

    async fn read(&mut self) -> Vec<u8> {
        let at = self.at;
        let Some(file) = &mut self.file else {
            let log = self.whole().await;
            let rest = usize::try_from(at).ok().and_then(|at| log.get(at..));
            return rest.unwrap_or_default().to_vec();
        };
        let mut buffer = vec![0; STEP];
        let read = file
            .seek(SeekFrom::Start(at))
            .and_then(|_| file.read(&mut buffer));
        buffer.truncate(read.unwrap_or(0));
        buffer
    }

    /// All that a runtime without files has.
    async fn whole(&self) -> Vec<u8> {
        let Source::Runtime(id) = &self.source else {
            return Vec::new();
        };
        let log = self.node.runtime.log(id).await;
        log.ok().flatten().unwrap_or_default()
    }

    /// Goes on in a new file when the old one was moved away or cut off. Whether it does.
    fn turn(&mut self) -> bool {
        let (Source::File(path), Some(file)) = (&self.source, &mut self.file) else {
            return false;
        };
        if !self.follow {
            return false;
        }
        let (Ok(now), Ok(own)) = (std::fs::metadata(path), file.metadata()) else {
            return false;
        };
        let other = now.ino() != own.ino() || now.dev() != own.dev();
        if !other && now.len() >= self.at {
            return false;
        }
        if other {
            // There is a new file, so nothing more is written to the old one; what was written since it was read comes first.
            let more = file
                .seek(SeekFrom::Start(self.at))
                .and_then(|_| file.read(&mut [0]));
            if matches!(more, Ok(1)) {
                return true;
            }
            let Ok(new) = File::open(path) else {
                return false;
            };
            self.file = Some(new);
        }
        self.at = 0;
        true
    }
}

/// The file, also when it is not there yet.
async fn opened(path: &Path) -> io::Result<File> {
    for _ in 0..MISSING {
        match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => sleep(LOOK).await,
            opened => return opened,
        }
    }
    File::open(path)
}

/// Where the last `lines` lines begin.
fn start_of_tail(log: &mut (impl io::Read + io::Seek), lines: u64) -> io::Result<u64> {
    let end = log.seek(SeekFrom::End(0))?;
    if lines == 0 {
        return Ok(end);
    }
    let (mut at, mut found) = (end, 0);
    let mut buffer = vec![0; STEP];
    while at > 0 {
        let step = at.min(STEP as u64);
        at -= step;
        log.seek(SeekFrom::Start(at))?;
        let part = buffer
            .get_mut(..usize::try_from(step).unwrap_or(STEP))
            .unwrap_or_default();
        log.read_exact(part)?;
        for (index, byte) in part.iter().enumerate().rev() {
            let position = at + index as u64 + 1;
            // The end of the last line is not the beginning of one.
            if *byte == b'\n' && position < end {
                found += 1;
                if found == lines {
                    return Ok(position);
                }
            }
        }
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::cri::FakeRuntime;
    use crate::node::NodeServer;
    use crate::reconcile::Manager;

    #[test]
    fn the_tail_begins_after_a_line() {
        let log = "one\ntwo\nthree\n";
        let long = format!("{}\nlast\n", "x".repeat(3 * STEP));
        for (log, lines, expected) in [
            (log, 0, ""),
            (log, 1, "three\n"),
            (log, 2, "two\nthree\n"),
            (log, 9, log),
            ("", 3, ""),
            ("one\nunfinished", 1, "unfinished"),
            (&long, 1, "last\n"),
        ] {
            let start = start_of_tail(&mut io::Cursor::new(log), lines).unwrap();
            assert_eq!(&log[usize::try_from(start).unwrap()..], expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_who_follows_goes_on_in_the_new_file() {
        use std::io::Write as _;
        let folder = std::env::temp_dir().join(format!("homeostat-follow-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (path, away) = (folder.join("0.log"), folder.join("0.log.1"));
        let append = |path: &PathBuf, text: &str| {
            let file = File::options().create(true).append(true).open(path);
            file.unwrap().write_all(text.as_bytes()).unwrap();
        };
        let nobody = tower::service_fn(|_: http::Request<kube::client::Body>| async {
            Ok::<_, std::convert::Infallible>(http::Response::new(kube::client::Body::empty()))
        });
        let clock = Clock::seeded(1);
        let manager = Manager::new(kube::Client::new(nobody, "default"), clock.clone());
        let runtime = Arc::new(FakeRuntime::new(clock, "10.0.0"));
        let node = NodeServer::new(&manager, "n", runtime).inner;
        let options = LogOptions {
            follow: true,
            tail: Some(1),
            ..LogOptions::default()
        };
        let open = || {
            let source = Source::File(path.clone());
            Follower::open(node.clone(), "gone".into(), source, &options)
        };
        let missing = open().await.err().unwrap();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        // It is being moved away while somebody comes to read it.
        let moving = async {
            sleep(LOOK).await;
            append(&path, "old\na\n");
        };
        let (follower, ()) = tokio::join!(open(), moving);
        let mut follower = follower.unwrap();
        assert_eq!(follower.next().await.unwrap(), b"a\n");
        append(&path, "b\n");
        assert_eq!(follower.next().await.unwrap(), b"b\n");
        std::fs::rename(&path, &away).unwrap();
        append(&away, "c\n");
        append(&path, "d\n");
        assert_eq!(follower.next().await.unwrap(), b"c\n");
        assert_eq!(follower.next().await.unwrap(), b"d\n");
        // Between the last look at the old file and the first at the new one.
        std::fs::rename(&path, &away).unwrap();
        append(&path, "f\n");
        append(&away, "e\n");
        assert!(follower.turn());
        assert_eq!(follower.next().await.unwrap(), b"e\n");
        assert_eq!(follower.next().await.unwrap(), b"f\n");
        // The container is gone, so nothing more will come.
        assert_eq!(follower.next().await, None);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
