//! This machine's files and network.

use std::collections::BTreeMap;
use std::io::{self, SeekFrom};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use tokio::fs;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::host::{File, Host, Kind};
use crate::cri::Check;

/// The link by which all files of a volume change at once.
const CURRENT: &str = "..data";
/// The same while it is made.
const NEXT: &str = "..data_tmp";

/// This machine.
#[derive(Debug)]
pub(super) struct Machine;

#[async_trait]
impl Host for Machine {
    async fn make_dir(&self, path: &Path, mode: u32) -> io::Result<()> {
        fs::create_dir_all(path).await?;
        // The mode that is asked for when it is made is lessened by the process's mask.
        fs::set_permissions(path, PermissionsExt::from_mode(mode)).await
    }

    async fn make_file(&self, path: &Path) -> io::Result<()> {
        let mut options = fs::OpenOptions::new();
        options.create(true).append(true).open(path).await.map(drop)
    }

    async fn kind(&self, path: &Path) -> io::Result<Option<Kind>> {
        let type_ = match fs::metadata(path).await {
            Ok(found) => found.file_type(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(Some(if type_.is_dir() {
            Kind::Directory
        } else if type_.is_socket() {
            Kind::Socket
        } else if type_.is_char_device() {
            Kind::CharDevice
        } else if type_.is_block_device() {
            Kind::BlockDevice
        } else {
            Kind::File
        }))
    }

    async fn publish(
        &self,
        directory: &Path,
        files: &BTreeMap<String, File>,
        group: Option<u32>,
    ) -> io::Result<()> {
        fs::create_dir_all(directory).await?;
        let old = fs::read_link(directory.join(CURRENT)).await.ok();
        if let Some(old) = &old
            && same(&directory.join(old), files).await
        {
            return Ok(());
        }
        // Two names in turn: what is shown is never written to.
        let name = if old.as_deref() == Some(Path::new("..a")) {
            "..b"
        } else {
            "..a"
        };
        let fresh = directory.join(name);
        self.remove(&fresh).await?;
        fs::create_dir(&fresh).await?;
        fs::set_permissions(&fresh, PermissionsExt::from_mode(0o755)).await?;
        for (path, file) in files {
            let full = fresh.join(path);
            if let Some(parent) = full.parent() {
                fs::create_dir_all(parent).await?;
            }
            fs::write(&full, &file.data).await?;
            let mode = if group.is_some() {
                file.mode | 0o440
            } else {
                file.mode
            };
            chown(&full, None, group)?;
            fs::set_permissions(&full, PermissionsExt::from_mode(mode)).await?;
        }
        let next = directory.join(NEXT);
        let _ = fs::remove_file(&next).await;
        symlink(name, &next)?;
        fs::rename(&next, directory.join(CURRENT)).await?;
        links(directory, files).await?;
        if let Some(old) = old {
            self.remove(&directory.join(old)).await?;
        }
        Ok(())
    }

    async fn give(&self, directory: &Path, group: u32) -> io::Result<()> {
        let mode = fs::metadata(directory).await?.mode();
        chown(directory, None, Some(group))?;
        fs::set_permissions(directory, PermissionsExt::from_mode(mode | 0o2770)).await
    }

    async fn tail(&self, path: &Path, bytes: u64) -> io::Result<Option<Vec<u8>>> {
        let mut file = match fs::File::open(path).await {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let length = file.metadata().await?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(bytes)))
            .await?;
        let mut read = Vec::new();
        file.take(bytes).read_to_end(&mut read).await?;
        Ok(Some(read))
    }

    async fn remove(&self, path: &Path) -> io::Result<()> {
        match fs::remove_dir_all(path).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    async fn ask(&self, address: &str, check: &Check, limit: Duration) -> Result<(), String> {
        match timeout(limit, ask(address, check)).await {
            Ok(answer) => answer,
            Err(_) => Err("context deadline exceeded".to_owned()),
        }
    }
}

/// Whether a directory has exactly these files.
async fn same(directory: &Path, files: &BTreeMap<String, File>) -> bool {
    let mut found = 0;
    let mut folders = vec![directory.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(mut entries) = fs::read_dir(&folder).await else {
            return false;
        };
        while let Ok(Some(entry)) = entries.next_entry().await {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.strip_prefix(directory).unwrap_or(&path);
            let Some(file) = files.get(&*name.to_string_lossy()) else {
                return false;
            };
            if fs::read(&path).await.ok().as_ref() != Some(&file.data) {
                return false;
            }
            found += 1;
        }
    }
    found == files.len()
}

/// Makes the names of a volume lead to what is current, and takes away those that lead nowhere.
async fn links(directory: &Path, files: &BTreeMap<String, File>) -> io::Result<()> {
    let first = |path: &str| path.split('/').next().unwrap_or_default().to_owned();
    let wanted: std::collections::BTreeSet<String> = files.keys().map(|path| first(path)).collect();
    for name in &wanted {
        let link = directory.join(name);
        if fs::symlink_metadata(&link).await.is_err() {
            symlink(Path::new(CURRENT).join(name), &link)?;
        }
    }
    let mut entries = fs::read_dir(directory).await?;
    while let Some(entry) = entries.next_entry().await? {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with("..") && !wanted.contains(&name) {
            fs::remove_file(entry.path()).await?;
        }
    }
    Ok(())
}

fn host<'a>(named: &'a str, address: &'a str) -> &'a str {
    if named.is_empty() { address } else { named }
}

async fn ask(address: &str, check: &Check) -> Result<(), String> {
    let connect = |named: &str, port: u16| {
        let target = (host(named, address).to_owned(), port);
        async move {
            let stream = TcpStream::connect((target.0.as_str(), port)).await;
            stream.map_err(|error| format!("dial tcp {}:{port}: connect: {error}", target.0))
        }
    };
    match check {
        Check::Tcp { host, port } => connect(host, *port).await.map(drop),
        Check::Http {
            scheme,
            host: named,
            port,
            path,
        } if scheme == "http" => {
            let stream = connect(named, *port).await?;
            let url = format!("{}:{port}", host(named, address));
            let status = get(stream, &url, path).await;
            let status = status.map_err(|error| format!("Get \"http://{url}{path}\": {error}"))?;
            if (200..400).contains(&status) {
                Ok(())
            } else {
                Err(format!("HTTP probe failed with statuscode: {status}"))
            }
        }
        Check::Http { scheme, .. } => Err(format!("probes over {scheme} are not supported")),
        Check::Grpc { .. } => Err("probes over gRPC are not supported".to_owned()),
        Check::Exec(_) => Err("a command is no question of the network".to_owned()),
    }
}

async fn get(
    stream: TcpStream,
    host: &str,
    path: &str,
) -> Result<u16, Box<dyn std::error::Error + Send + Sync>> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let path = if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("/{path}")
    };
    let request = http::Request::get(path)
        .header("host", host)
        .header("user-agent", "kube-probe/1.36")
        .header("accept", "*/*")
        .header("connection", "close")
        .body(Empty::<Bytes>::new())?;
    let answer = async move { Ok(sender.send_request(request).await?.status().as_u16()) };
    // The connection moves only while it is looked after; its end is no failure of the question.
    let (answer, _) = futures::future::join(answer, connection).await;
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(rows: &[(&str, &str)]) -> BTreeMap<String, File> {
        let file = |text: &str| File {
            data: text.into(),
            mode: 0o644,
        };
        rows.iter()
            .map(|(path, text)| ((*path).to_owned(), file(text)))
            .collect()
    }

    #[tokio::test]
    async fn volumes_change_at_once() {
        let dir = std::env::temp_dir().join(format!("homeostat-volume-{}", std::process::id()));
        let read = |name: &str| std::fs::read_to_string(dir.join(name)).ok();
        Machine
            .publish(&dir, &files(&[("a", "1"), ("d/b", "2")]), None)
            .await
            .unwrap();
        assert_eq!(read("a").as_deref(), Some("1"));
        assert_eq!(read("d/b").as_deref(), Some("2"));
        let shown = std::fs::read_link(dir.join(CURRENT)).unwrap();
        Machine
            .publish(&dir, &files(&[("a", "1"), ("d/b", "2")]), None)
            .await
            .unwrap();
        assert_eq!(std::fs::read_link(dir.join(CURRENT)).unwrap(), shown);
        Machine
            .publish(&dir, &files(&[("a", "3"), ("c", "4")]), None)
            .await
            .unwrap();
        assert_eq!(read("a").as_deref(), Some("3"));
        assert_eq!(read("c").as_deref(), Some("4"));
        assert_eq!(read("d/b"), None);
        assert_eq!(
            Machine.tail(&dir.join("a"), 9).await.unwrap(),
            Some(b"3".to_vec())
        );
        assert_eq!(Machine.kind(&dir).await.unwrap(), Some(Kind::Directory));
        Machine.remove(&dir).await.unwrap();
        assert_eq!(Machine.kind(&dir).await.unwrap(), None);
    }

    #[tokio::test]
    async fn checks_over_the_network() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = [0; 1024];
                let read = stream.read(&mut head).await.unwrap_or(0);
                let bad = head[..read].starts_with(b"GET /bad");
                let line = if bad { "500 No" } else { "302 Found" };
                let answer = format!("HTTP/1.1 {line}\r\ncontent-length: 0\r\n\r\n");
                let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, answer.as_bytes()).await;
            }
        });
        let http = |path: &str| Check::Http {
            scheme: "http".into(),
            host: String::new(),
            port,
            path: path.into(),
        };
        let second = Duration::from_secs(1);
        let tcp = Check::Tcp {
            host: String::new(),
            port,
        };
        assert_eq!(Machine.ask("127.0.0.1", &tcp, second).await, Ok(()));
        assert_eq!(Machine.ask("127.0.0.1", &http("/"), second).await, Ok(()));
        let bad = Machine.ask("127.0.0.1", &http("/bad"), second).await;
        assert_eq!(
            bad,
            Err("HTTP probe failed with statuscode: 500".to_owned())
        );
    }
}
