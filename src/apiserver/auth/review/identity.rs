//! `TokenReview`: whom a token stands for. `SelfSubjectReview`: who asks.
use crate::apiserver::auth::secret::Shown;
use crate::apiserver::filter::bearer;
use crate::apiserver::handler::admit;
use crate::apiserver::handler::call::Call;
use crate::apiserver::request::User;
use crate::object::{Document, Status};
use serde_json::{Map, Value, json};

/// A user as `authentication/v1.UserInfo`.
fn user_info(user: &User) -> Value {
    let mut info = Map::new();
    let mut set = |field: &str, value: Value, empty: bool| {
        if !empty {
            info.insert(field.to_owned(), value);
        }
    };
    set("username", json!(user.name), user.name.is_empty());
    set("uid", json!(user.uid), user.uid.is_empty());
    set("groups", json!(user.groups), user.groups.is_empty());
    set("extra", json!(user.extra), user.extra.is_empty());
    info.into()
}

/// Says whom a token stands for.
pub(super) async fn token(call: &Call<'_>, mut review: Value) -> Result<Value, Status> {
    let token = review.str_at(&["spec", "token"]).to_owned();
    if token.is_empty() {
        return Err(Status::bad_request(
            "token is required for TokenReview in authentication",
        ));
    }
    admit::validate(call, "", Some(&review), None).await?;
    let audiences = review.list_at(&["spec", "audiences"]).iter();
    let audiences: Vec<String> = audiences
        .filter_map(|audience| audience.as_str().map(str::to_owned))
        .collect();
    review["status"] = match bearer::authenticate(call.shared, Shown::new(&token), &audiences).await
    {
        Ok((user, audiences)) => json!({
            "authenticated": true, "user": user_info(&user), "audiences": audiences,
        }),
        Err(why) => json!({ "user": {}, "error": why }),
    };
    Ok(review)
}

/// Says who asks.
pub(super) async fn own(call: &Call<'_>, review: &Value) -> Result<Value, Status> {
    admit::validate(call, "", Some(review), None).await?;
    Ok(json!({
        "apiVersion": review.api_version(),
        "kind": review.kind(),
        "metadata": { "creationTimestamp": call.now },
        "status": { "userInfo": user_info(&call.request.user) },
    }))
}
