//! The fake's images.

use async_trait::async_trait;
use tokio::time::sleep;

use super::{FakeRuntime, State};
use crate::cri::{
    Error, FilesystemUsage, Image, ImageAuth, ImageFsInfo, ImageService, ImageSpec, Result,
    SandboxConfig,
};

/// A digest that follows from the image's name.
pub(super) fn image_id(image: &str) -> String {
    let hash = image.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!(
        "{}@sha256:{}",
        image.split(['@']).next().unwrap_or(image),
        format!("{hash:016x}").repeat(4)
    )
}

impl State {
    /// The name of an image that is present, by name or id.
    pub(super) fn present(&self, image: &str) -> Option<&str> {
        if let Some(name) = self.images.get(image) {
            return Some(name);
        }
        let mut names = self.images.iter();
        names
            .find(|name| image_id(name) == image)
            .map(String::as_str)
    }

    fn image(&self, name: &str) -> Image {
        let script = self.script(name);
        let uid = script.user.parse().ok();
        Image {
            id: image_id(name),
            repo_tags: vec![name.to_owned()],
            repo_digests: vec![image_id(name)],
            size: script.size,
            uid,
            username: uid.map_or(script.user, |_| String::new()),
            pinned: false,
        }
    }
}

#[async_trait]
impl ImageService for FakeRuntime {
    async fn pull_image(
        &self,
        image: &ImageSpec,
        auth: Option<&ImageAuth>,
        _sandbox: Option<&SandboxConfig>,
    ) -> Result<String> {
        let name = &image.image;
        let script = self.inner.up()?.script(name);
        if !script.pull_delay.is_zero() {
            sleep(script.pull_delay).await;
        }
        let refused = (!script.lets_in(auth)).then(|| "authorization failed".to_owned());
        if let Some(why) = script.pull_error.or(refused) {
            return Err(Error::Image {
                image: name.clone(),
                why,
            });
        }
        self.inner.up()?.images.insert(name.clone());
        Ok(image_id(name))
    }

    async fn image_status(&self, image: &ImageSpec) -> Result<Option<Image>> {
        let state = self.inner.up()?;
        Ok(state.present(&image.image).map(|name| state.image(name)))
    }

    async fn list_images(&self) -> Result<Vec<Image>> {
        let state = self.inner.up()?;
        let mut images: Vec<Image> = state.images.iter().map(|name| state.image(name)).collect();
        images.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(images)
    }

    async fn remove_image(&self, image: &ImageSpec) -> Result<()> {
        let mut state = self.inner.up()?;
        if let Some(name) = state.present(&image.image).map(str::to_owned) {
            state.images.remove(&name);
        }
        Ok(())
    }

    async fn image_fs_info(&self) -> Result<ImageFsInfo> {
        let state = self.inner.up()?;
        if let Some(info) = &state.image_fs {
            return Ok(info.clone());
        }
        let used_bytes = state.images.iter().map(|name| state.script(name).size);
        let images = FilesystemUsage {
            at: self.inner.clock.now(),
            mountpoint: "/var/lib/fake".to_owned(),
            used_bytes: used_bytes.sum(),
            inodes_used: state.images.len() as u64,
        };
        Ok(ImageFsInfo {
            images: vec![images],
            containers: Vec::new(),
        })
    }
}
