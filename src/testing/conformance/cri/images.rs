//! Images.

use super::{Bench, check, equal, fails, wait};
use crate::cri::{Error, ImageAuth};

pub(super) async fn run(bench: &Bench<'_>) {
    private_images_need_credentials(bench).await;
    images_come_and_go(bench).await;
    an_absent_image_is_told(bench).await;
    file_systems_are_measured(bench).await;
}

async fn private_images_need_credentials(bench: &Bench<'_>) {
    let case = "private images need credentials";
    let (image, auth) = &bench.subject.private;
    let wrong = ImageAuth {
        password: format!("not {}", auth.password),
        ..auth.clone()
    };
    for (what, auth) in [("no", None), ("a wrong", Some(&wrong))] {
        let pulled = bench.runtime.pull_image(image, auth, None).await;
        let error = fails(case, &format!("a pull with {what} password"), pulled);
        let is_image = matches!(error, Error::Image { .. });
        check(case, is_image, &format!("{error:?} is no Error::Image"));
        let shown = format!("{error:?} {error} {wrong:?}");
        check(
            case,
            !shown.contains(&auth_of(&wrong)),
            "a password is shown",
        );
    }
    let pulled = bench.runtime.pull_image(image, Some(auth), None).await;
    check(case, pulled.is_ok(), "the right password is no use");
}

fn auth_of(auth: &ImageAuth) -> String {
    auth.password.clone()
}

async fn images_come_and_go(bench: &Bench<'_>) {
    let case = "images come and go";
    let (image, auth) = &bench.subject.private;
    let runtime = bench.runtime;
    let reference = runtime.pull_image(image, Some(auth), None).await.unwrap();
    let found = runtime.image_status(image).await.unwrap();
    let Some(found) = found else {
        panic!("{case}: a pulled image is not there")
    };
    check(case, found.size > 0, "its size is 0");
    let named = found.repo_tags.contains(&image.image);
    check(case, named, "it does not have its name");
    let again = runtime.image_status(&reference.as_str().into()).await;
    let again = again.unwrap().map(|image| image.id);
    equal(
        case,
        "the image of the reference",
        again,
        Some(found.id.clone()),
    );
    let listed = runtime.list_images().await.unwrap();
    let listed = listed.iter().any(|listed| listed.id == found.id);
    check(case, listed, "it is not in the list");
    for time in ["first", "second"] {
        let removed = runtime.remove_image(image).await;
        check(case, removed.is_ok(), &format!("the {time} removal fails"));
        let left = runtime.image_status(image).await.unwrap();
        check(case, left.is_none(), "it is there after its removal");
    }
}

async fn an_absent_image_is_told(bench: &Bench<'_>) {
    let case = "an absent image is told";
    let absent = &bench.subject.absent;
    let pulled = bench.runtime.pull_image(absent, None, None).await;
    match fails(case, "a pull", pulled) {
        Error::Image { image, .. } => equal(case, "the image", &image, &absent.image),
        error => panic!("{case}: {error:?} is no Error::Image"),
    }
    let found = bench.runtime.image_status(absent).await.unwrap();
    check(case, found.is_none(), "it is there");
    let removed = bench.runtime.remove_image(absent).await;
    check(case, removed.is_ok(), "it cannot be removed");
}

async fn file_systems_are_measured(bench: &Bench<'_>) {
    let case = "file systems are measured";
    // Runtimes measure from time to time; one that has just started may not have yet.
    let found = wait(case, "images that take room", async || {
        let found = bench.runtime.image_fs_info().await.unwrap();
        let used = found.images.iter().any(|usage| usage.used_bytes > 0);
        used.then_some(found)
    })
    .await;
    let named = found
        .images
        .iter()
        .all(|usage| !usage.mountpoint.is_empty());
    check(case, named, "a file system is nowhere");
}
