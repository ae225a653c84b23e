//! Gets and lists: which revision they show, and from where.
use super::select::{Selected, Selection};
use super::{Cached, Cacher, Kind, prefix};
use crate::apiserver::continue_token::ContinueToken;
use crate::apiserver::registry::Resource;
use crate::object::status::{Cause, Details};
use crate::object::{FieldSelector, LabelSelector, Reason, Status};
use crate::store::{Error, Range, Revision};
use std::sync::Arc;

const EXPIRED: &str = "The resourceVersion for the provided list is too old.";
const CONTINUE_EXPIRED: &str = "The provided continue parameter is too old to display a consistent list result. \
    You can start a new list without the continue parameter, or use the continue token in this response to retrieve the \
    remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were \
    created, modified, or deleted between the time the first chunk was returned and now may show up in the list.";

/// What to list.
#[derive(Clone, Debug, Default)]
pub(crate) struct ListQuery<'a> {
    /// `""`: all.
    pub namespace: &'a str,
    pub labels: Option<&'a LabelSelector>,
    pub fields: Option<&'a FieldSelector>,
    /// `None` and 0: all.
    pub limit: Option<usize>,
    pub continue_: Option<&'a str>,
    /// `""`: the newest; `0`: any.
    pub resource_version: &'a str,
    /// `""`, `Exact` or `NotOlderThan`.
    pub resource_version_match: &'a str,
}

/// A list, or a page of one.
#[derive(Clone, Debug)]
pub(crate) struct Listing {
    pub items: Vec<Arc<Cached>>,
    pub revision: Revision,
    /// Where it goes on.
    pub next: Option<String>,
    /// How many are left, if that is known.
    pub remaining: Option<usize>,
}

/// As of which revision a list is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AsOf {
    /// Everything written before the request.
    Newest,
    /// Whatever the cache holds.
    Any,
    NotOlderThan(Revision),
    Exact(Revision),
}

impl Cacher {
    /// The object, as of the revision the client asks for (`""`: the newest, `0`: any, else not older than).
    ///
    /// # Errors
    /// An unreadable revision, one that does not come in time, or a failing store.
    pub(crate) async fn get(
        &self,
        resource: &Arc<Resource>,
        namespace: &str,
        name: &str,
        resource_version: &str,
    ) -> Result<Option<Arc<Cached>>, Status> {
        let as_of = match resource_version {
            "" => AsOf::Newest,
            text => AsOf::NotOlderThan(parse_revision(text).map_err(unparsable_revision)?),
        };
        let kind = self.kind(resource).await?;
        self.reach(as_of).await?;
        Ok(kind.get(&resource.key(namespace, name)))
    }

    /// The object at any revision the cache has, without waiting: for decisions that look again when they do not find it.
    pub(crate) async fn peek(
        &self,
        resource: &Arc<Resource>,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Arc<Cached>>, Status> {
        Ok(self
            .kind(resource)
            .await?
            .get(&resource.key(namespace, name)))
    }

    /// Waits for what the request wants to see.
    async fn reach(&self, as_of: AsOf) -> Result<(), Status> {
        match as_of {
            AsOf::Newest => self.fresh().await.map(drop),
            AsOf::Any => Ok(()),
            AsOf::NotOlderThan(revision) | AsOf::Exact(revision) => {
                self.at_least(revision).await.map(drop)
            }
        }
    }

    /// A list as `query` wants it.
    ///
    /// # Errors
    /// As the real server: 400 for what cannot be read, 410 for what is no longer kept, 504 for what is still to come.
    pub(crate) async fn list(
        &self,
        resource: &Arc<Resource>,
        query: &ListQuery<'_>,
    ) -> Result<Listing, ListError> {
        let within = if query.namespace.is_empty() {
            prefix(resource)
        } else {
            resource.key(query.namespace, "")
        };
        let token = query.continue_.filter(|token| !token.is_empty());
        let token = token
            .map(|token| read_token(token, &within, query))
            .transpose()?;
        let (as_of, limit) = if let Some(token) = &token {
            (
                token.revision.map_or(AsOf::Newest, AsOf::Exact),
                query.limit,
            )
        } else {
            let as_of = as_of(query)?;
            // An answer from whatever the cache has is given whole, as it always was.
            (as_of, query.limit.filter(|_| as_of != AsOf::Any))
        };
        let selection = Selection {
            within: &within,
            after: token.as_ref().map(|token| token.after.as_str()),
            labels: query.labels.filter(|labels| !labels.is_empty()),
            fields: query.fields.filter(|fields| !fields.is_empty()),
            limit: limit.filter(|limit| *limit > 0),
        };
        let kind = self.kind(resource).await?;
        self.reach(as_of).await?;
        let (selected, revision) = if let AsOf::Exact(revision) = as_of {
            match self.exact(&kind, &selection, revision).await {
                Ok(selected) => (selected, revision),
                Err(Error::Compacted { .. }) => return Err(expired(token, &within)),
                Err(error) => return Err(store_error(&error).into()),
            }
        } else {
            // Read before the objects: no change of the kind can lie between the two.
            let applied = self.applied();
            let selected = kind.select(&selection);
            let revision = selected.changed.max(applied);
            (selected, revision)
        };
        let last = selected.items.last().filter(|_| selected.left > 0);
        let next = last.map(|last| {
            let after = last.key.to_string();
            let revision = Some(revision);
            ContinueToken { revision, after }.encode(&within)
        });
        // Counting what a selector leaves would mean looking at all of it.
        let all = selection.labels.is_none() && selection.fields.is_none();
        let remaining = (next.is_some() && all).then_some(selected.left);
        Ok(Listing {
            items: selected.items,
            revision,
            next,
            remaining,
        })
    }

    /// The objects as of exactly `revision`: from the cache when nothing has changed since, else from the store's history,
    /// with what the cache has decoded already.
    async fn exact(
        &self,
        kind: &Kind,
        selection: &Selection<'_>,
        revision: Revision,
    ) -> Result<Selected, Error> {
        if kind.changed() <= revision {
            let selected = kind.select(selection);
            if selected.changed <= revision {
                return Ok(selected);
            }
        }
        let mut range = Range::prefix(selection.within).at(revision);
        range.after = selection.after.map(str::to_owned);
        if selection.labels.is_none() && selection.fields.is_none() {
            range.limit = selection.limit;
        }
        let page = self.inner.store.range(range).await?;
        let mut entries = page.entries.iter();
        let mut objects = entries.by_ref().filter_map(|entry| {
            let known = kind.get(&entry.key);
            known
                .filter(|object| object.revision == entry.modified)
                .or_else(|| Cached::from_entry(&kind.resource, entry).map(Arc::new))
        });
        let items = selection.take(&kind.resource, &mut objects, |object| object);
        Ok(Selected {
            items,
            changed: revision,
            left: entries.len() + page.remaining,
        })
    }
}

fn expired(token: Option<ContinueToken>, within: &str) -> ListError {
    let Some(token) = token else {
        return Status::expired(EXPIRED).into();
    };
    let inconsistent = ContinueToken {
        revision: None,
        after: token.after,
    };
    ListError {
        status: Status::expired(CONTINUE_EXPIRED),
        continue_: Some(inconsistent.encode(within)),
    }
}

/// Why a list failed; an expired one may go on, inconsistently, with another token.
#[derive(Clone, Debug)]
pub(crate) struct ListError {
    pub status: Status,
    pub continue_: Option<String>,
}

impl From<Status> for ListError {
    fn from(status: Status) -> Self {
        Self {
            status,
            continue_: None,
        }
    }
}

fn as_of(query: &ListQuery<'_>) -> Result<AsOf, Status> {
    let text = query.resource_version;
    if text.is_empty() {
        return Ok(AsOf::Newest);
    }
    let revision = parse_revision(text)
        .map_err(|why| Status::bad_request(format!("invalid resource version: {why}")))?;
    Ok(match query.resource_version_match {
        "Exact" => AsOf::Exact(revision),
        _ if revision == 0 => AsOf::Any,
        // Paging from a given revision has always meant exactly that revision.
        "" if query.limit.is_some_and(|limit| limit > 0) => AsOf::Exact(revision),
        _ => AsOf::NotOlderThan(revision),
    })
}

fn read_token(token: &str, within: &str, query: &ListQuery<'_>) -> Result<ContinueToken, Status> {
    let token = ContinueToken::decode(token, within)
        .map_err(|why| Status::bad_request(format!("invalid continue token: {why}")))?;
    if !matches!(query.resource_version, "" | "0") {
        return Err(Status::bad_request(
            "specifying resource version is not allowed when using continue",
        ));
    }
    Ok(token)
}

/// A client's resource version as a revision, or what is wrong with it, in the words of Go's parser.
pub(crate) fn parse_revision(text: &str) -> Result<Revision, String> {
    if text.is_empty() {
        return Ok(0);
    }
    let problem = if text.bytes().all(|byte| byte.is_ascii_digit()) {
        match text.parse() {
            Ok(revision) => return Ok(revision),
            Err(_) => "value out of range",
        }
    } else {
        "invalid syntax"
    };
    Err(format!(
        "resourceVersion: Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: {problem}"
    ))
}

/// How gets and watches say that a resource version cannot be read.
pub(crate) fn unparsable_revision(why: String) -> Status {
    Status::new(500, Reason::Unknown, why)
}

/// 504: the revision asked for is still to come.
pub(crate) fn too_large_resource_version(asked: Revision, current: Revision) -> Status {
    Status::new(
        504,
        Reason::Timeout,
        format!("Timeout: Too large resource version: {asked}, current: {current}"),
    )
    .with_details(Details {
        causes: vec![Cause {
            reason: "ResourceVersionTooLarge".into(),
            message: "Too large resource version".into(),
            ..Cause::default()
        }],
        retry_after_seconds: 1,
        ..Details::default()
    })
}

/// The answer when the store fails a read.
pub(crate) fn store_error(error: &Error) -> Status {
    match error {
        Error::Compacted { .. } => Status::expired(EXPIRED),
        Error::FutureRevision { asked, current } => too_large_resource_version(*asked, *current),
        other => Status::unavailable(format!("the store cannot be read: {other}")).with_details(
            Details {
                retry_after_seconds: 1,
                ..Details::default()
            },
        ),
    }
}
