//! Images: pull, look, remove, and how much room they take.

use std::collections::BTreeMap;
use std::fmt::{self, Debug, Formatter};

use async_trait::async_trait;
use jiff::Timestamp;

use super::{Result, SandboxConfig};

/// Which image.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ImageSpec {
    /// Its name or id: `registry.example/app:v1`, `sha256:…`.
    pub image: String,
    /// What the runtime is told besides.
    pub annotations: BTreeMap<String, String>,
    /// The runtime handler it is for; empty: the default one.
    pub runtime_handler: String,
}

impl From<&str> for ImageSpec {
    fn from(image: &str) -> Self {
        Self {
            image: image.to_owned(),
            ..Self::default()
        }
    }
}

/// How the registry knows that one may pull. Its `Debug` shows no secret.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ImageAuth {
    /// The user.
    pub username: String,
    /// The password.
    pub password: String,
    /// `user:password` in base64, in place of the two above.
    pub auth: String,
    /// The registry this is for; empty: any.
    pub server_address: String,
    /// A token by which the registry gives a token.
    pub identity_token: String,
    /// A token that the registry takes as it is.
    pub registry_token: String,
}

impl Debug for ImageAuth {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImageAuth")
            .field("username", &self.username)
            .field("server_address", &self.server_address)
            .finish_non_exhaustive()
    }
}

/// An image that is present.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// Its id, the digest of its configuration: `sha256:…`.
    pub id: String,
    /// Its names with tags.
    pub repo_tags: Vec<String>,
    /// Its names with digests.
    pub repo_digests: Vec<String>,
    /// The bytes it takes.
    pub size: u64,
    /// The user its containers run as, when that is a number.
    pub uid: Option<i64>,
    /// The user its containers run as, when that is a name; else empty.
    pub username: String,
    /// Whether it must not be removed to make room.
    pub pinned: bool,
}

/// How much of a file system is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilesystemUsage {
    /// When this was found.
    pub at: Timestamp,
    /// Where it is mounted, or a directory on it.
    pub mountpoint: String,
    /// Bytes used.
    pub used_bytes: u64,
    /// Inodes used.
    pub inodes_used: u64,
}

/// The file systems that hold images and containers' own layers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageFsInfo {
    /// Those of images.
    pub images: Vec<FilesystemUsage>,
    /// Those of containers; empty: the same.
    pub containers: Vec<FilesystemUsage>,
}

/// Images.
#[async_trait]
pub trait ImageService: Debug + Send + Sync + 'static {
    /// Pulls an image, for a pod's sandbox if one is named; gives a reference by which containers are made from it.
    ///
    /// # Errors
    /// [`Error::Image`](super::Error::Image) when there is no such image, it may not be pulled, or the pull comes to a
    /// standstill.
    async fn pull_image(
        &self,
        image: &ImageSpec,
        auth: Option<&ImageAuth>,
        sandbox: Option<&SandboxConfig>,
    ) -> Result<String>;

    /// An image, if it is present.
    async fn image_status(&self, image: &ImageSpec) -> Result<Option<Image>>;

    /// All images that are present, by id.
    async fn list_images(&self) -> Result<Vec<Image>>;

    /// Removes an image under all its names. Succeeds when it is gone already.
    async fn remove_image(&self, image: &ImageSpec) -> Result<()>;

    /// What the file systems of images and containers hold.
    async fn image_fs_info(&self) -> Result<ImageFsInfo>;
}
