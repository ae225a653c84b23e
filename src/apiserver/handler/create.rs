//! POST of a new object.
use super::call::Call;
use super::{answer, body, write};
use crate::apiserver::request::ResourceRequest;
use crate::apiserver::request::options::WriteOptions;
use crate::apiserver::response::Response;
use crate::apiserver::server::Shared;
use crate::object::Status;
use std::sync::Arc;

/// Creates the object in the body.
pub(crate) async fn create(
    shared: &Arc<Shared>,
    request: &ResourceRequest,
) -> Result<Response, Status> {
    answer::negotiate(request)?;
    let options = WriteOptions::parse(&request.query, "CreateOptions", false)?;
    let mut call = Call::new(shared, request, options);
    let object = body::object(&mut call)?;
    let written = write::create(&mut call, object).await?;
    answer::written(&call, &written)
}
