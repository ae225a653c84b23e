//! CustomResourceDefinitions and the resources they define.
//!
//! `kind/` is the kind itself: its defaults and rules. `controller` gives definitions their names and conditions, serves what
//! they define, and takes it away. The rest is about custom resources: `strategy` is their behaviour, `schema` and `value` what
//! they may look like, `cel` their rules, `custom` and `convert` how they pass between versions, `columns` their tables.
//!
//! Architecture invariant: pure, apart from `controller` and `convert`, which calls webhooks.
#[cfg(feature = "cel")]
mod cel;
#[cfg(not(feature = "cel"))]
#[path = "cel/off.rs"]
mod cel;
mod columns;
pub(crate) mod controller;
pub(crate) mod convert;
pub(crate) mod custom;
mod definition;
mod embedded;
mod jsonpath;
mod kind;
mod lists;
mod naming;
pub(crate) mod native;
mod registration;
mod schema;
mod serving;
mod strategy;
mod value;

pub(crate) use self::custom::Custom;
pub(crate) use self::kind::CustomResourceDefinition;
