//! Images over CRI.

use async_trait::async_trait;
use k8s_cri::v1;

use super::{Containerd, error, from_proto, gone, to_proto};
use crate::cri::{
    Error, Image, ImageAuth, ImageFsInfo, ImageService, ImageSpec, Result, SandboxConfig,
};

#[async_trait]
impl ImageService for Containerd {
    async fn pull_image(
        &self,
        image: &ImageSpec,
        auth: Option<&ImageAuth>,
        sandbox: Option<&SandboxConfig>,
    ) -> Result<String> {
        let request = v1::PullImageRequest {
            image: Some(to_proto::image(image)),
            auth: auth.map(to_proto::auth),
            sandbox_config: sandbox.map(to_proto::sandbox),
        };
        let failed = |why: String| Error::Image {
            image: image.image.clone(),
            why,
        };
        let limit = self.inner.config.pull_timeout;
        let mut client = self.images();
        let status = match tokio::time::timeout(limit, client.pull_image(request)).await {
            Ok(Ok(answer)) => return Ok(answer.into_inner().image_ref),
            Ok(Err(status)) => status,
            Err(_) => return Err(failed(format!("not done within {limit:?}"))),
        };
        match error::of("PullImage", &image.image, &status) {
            lost @ Error::Unavailable(_) => Err(lost),
            // What the error type says is not said twice.
            _ => Err(failed(why(&error::message(&status)).to_owned())),
        }
    }

    async fn image_status(&self, image: &ImageSpec) -> Result<Option<Image>> {
        let request = v1::ImageStatusRequest {
            image: Some(to_proto::image(image)),
            verbose: false,
        };
        let mut client = self.images();
        let asked = client.image_status(request);
        let answer = gone(self.ask(("ImageStatus", &image.image), asked).await)?;
        Ok(answer.image.map(from_proto::image))
    }

    async fn list_images(&self) -> Result<Vec<Image>> {
        let mut client = self.images();
        let asked = client.list_images(v1::ListImagesRequest::default());
        let answer = self.ask(("ListImages", ""), asked).await?;
        let mut images: Vec<Image> = answer.images.into_iter().map(from_proto::image).collect();
        images.sort_by(|a, b| a.id.cmp(&b.id));
        let pinned = self.sandbox_image().await?;
        for image in &mut images {
            image.pinned |= image
                .repo_tags
                .iter()
                .any(|tag| Some(tag) == pinned.as_ref());
        }
        Ok(images)
    }

    async fn remove_image(&self, image: &ImageSpec) -> Result<()> {
        let request = v1::RemoveImageRequest {
            image: Some(to_proto::image(image)),
        };
        let mut client = self.images();
        let asked = client.remove_image(request);
        gone(self.ask(("RemoveImage", &image.image), asked).await)?;
        Ok(())
    }

    async fn image_fs_info(&self) -> Result<ImageFsInfo> {
        let mut client = self.images();
        let asked = client.image_fs_info(v1::ImageFsInfoRequest {});
        let answer = self.ask(("ImageFsInfo", ""), asked).await?;
        let all = |usages: Vec<v1::FilesystemUsage>| {
            usages.into_iter().map(from_proto::filesystem).collect()
        };
        Ok(ImageFsInfo {
            images: all(answer.image_filesystems),
            containers: all(answer.container_filesystems),
        })
    }
}

/// The reason in containerd's `failed to pull and unpack image "name": reason`; other messages are the reason themselves.
fn why(message: &str) -> &str {
    message
        .strip_prefix("failed to pull and unpack image \"")
        .and_then(|rest| rest.split_once("\": "))
        .map_or(message, |(_, why)| why)
}

impl Containerd {
    /// The image that every sandbox runs, which must stay though no container names it. containerd before 1.7 says that
    /// of no image; its configuration tells which it is.
    async fn sandbox_image(&self) -> Result<Option<String>> {
        let mut client = self.runtime();
        let asked = client.status(v1::StatusRequest { verbose: true });
        let answer = self.ask(("Status", ""), asked).await?;
        let config = answer.info.get("config");
        let config = config.and_then(|text| serde_json::from_str::<serde_json::Value>(text).ok());
        let image = config
            .as_ref()
            .and_then(|config| config.get("sandboxImage"));
        Ok(image.and_then(|image| image.as_str()).map(str::to_owned))
    }
}

#[cfg(test)]
mod tests {
    use super::why;

    #[test]
    fn reasons_are_told_once() {
        for (message, reason) in [
            (
                "failed to pull and unpack image \"docker.io/a:b\": failed to resolve reference \"docker.io/a:b\": no",
                "failed to resolve reference \"docker.io/a:b\": no",
            ),
            (
                "failed to pull and unpack image",
                "failed to pull and unpack image",
            ),
            ("no space left", "no space left"),
        ] {
            assert_eq!(why(message), reason);
        }
    }
}
