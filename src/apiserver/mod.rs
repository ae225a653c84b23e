//! Kubernetes API semantics over any [`Store`](crate::store::Store).
//!
//! A request flows `service` -> `filter` -> `handler/<verb>` -> `patch` / `admission` / `kinds` -> `registry` -> the store.

pub(crate) mod service;

pub(crate) mod request;

pub(crate) mod response;

pub(crate) mod auth;
pub(crate) mod filter;

pub(crate) mod handler;

pub(crate) mod subresource;

pub(crate) mod patch;

pub mod admission;
pub(crate) mod crd;
pub(crate) mod kinds;
pub(crate) mod schema;

pub(crate) mod openid;
pub(crate) mod registry;

pub(crate) mod alloc;
pub(crate) mod audit;
pub(crate) mod bootstrap;
pub(crate) mod connect;
pub(crate) mod continue_token;
pub(crate) mod discovery;
pub(crate) mod health;
pub(crate) mod inprocess;
pub(crate) mod metrics;
pub(crate) mod openapi;
pub(crate) mod protobuf;
pub(crate) mod render;
#[cfg(feature = "serve")]
pub mod serve;
pub(crate) mod server;
pub(crate) mod table;
pub(crate) mod transform;
pub(crate) mod zpages;

pub use self::audit::{AuditLog, AuditPolicy, AuditPolicyError, AuditSink, Write, WriteObserver};
pub use self::auth::AuthorizationMode;
pub use self::auth::token::{KeyError, ServiceAccountTokens};
pub use self::connect::{Connection, Dialer, Target};
pub use self::filter::identity::{CertificateError, ClientCertificate, Remote};
pub use self::filter::static_token::{StaticTokens, TokenFileError};
pub use self::registry::strategy::{
    Context, DeleteOptions, MetadataCheck, Propagation, Scale, Strategy,
};
pub use self::response::Body;
pub use self::server::{ApiServer, ApiServerBuilder, StartError};
pub use self::service::ResponseFuture;
