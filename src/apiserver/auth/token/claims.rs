//! What a token says.
use serde_json::{Map, Value, json};

/// Tokens are taken this much before and after their time: clocks differ.
pub(super) const LEEWAY: i64 = 60;

/// An object by name and uid.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Named {
    pub name: String,
    pub uid: String,
}

/// What a token is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Bound {
    /// A pod, and the node it runs on.
    Pod(Named, Option<Named>),
    Secret(Named),
    Node(Named),
}

/// What a token says. Times are in seconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Claims {
    pub issuer: String,
    pub audiences: Vec<String>,
    pub issued: i64,
    pub expires: i64,
    pub not_before: i64,
    /// Names the token.
    pub id: String,
    pub namespace: String,
    pub account: Named,
    pub bound: Option<Bound>,
    /// When whoever still uses it is late.
    pub warn_after: Option<i64>,
}

impl Claims {
    /// As they are signed.
    pub(crate) fn to_value(&self) -> Value {
        let named = |named: &Named| {
            let mut map = Map::new();
            for (field, text) in [("name", &named.name), ("uid", &named.uid)] {
                if !text.is_empty() {
                    map.insert(field.to_owned(), text.as_str().into());
                }
            }
            Value::Object(map)
        };
        let mut own =
            json!({ "namespace": self.namespace, "serviceaccount": named(&self.account) });
        match &self.bound {
            Some(Bound::Pod(pod, node)) => {
                own["pod"] = named(pod);
                if let Some(node) = node {
                    own["node"] = named(node);
                }
            }
            Some(Bound::Secret(secret)) => own["secret"] = named(secret),
            Some(Bound::Node(node)) => own["node"] = named(node),
            None => {}
        }
        if let Some(late) = self.warn_after {
            own["warnafter"] = late.into();
        }
        json!({
            "iss": self.issuer,
            "sub": format!("system:serviceaccount:{}:{}", self.namespace, self.account.name),
            "aud": self.audiences,
            "iat": self.issued,
            "nbf": self.not_before,
            "exp": self.expires,
            "jti": self.id,
            "kubernetes.io": own,
        })
    }

    /// Reads what was signed.
    pub(super) fn from_value(value: &Value) -> Option<Self> {
        let text = |field: &str| value.get(field).and_then(Value::as_str).unwrap_or_default();
        let time = |field: &str| value.get(field).and_then(Value::as_i64);
        let audiences = match value.get("aud") {
            Some(Value::String(one)) => vec![one.clone()],
            Some(Value::Array(many)) => many
                .iter()
                .map(|audience| audience.as_str().map(str::to_owned))
                .collect::<Option<_>>()?,
            _ => Vec::new(),
        };
        let own = value.get("kubernetes.io")?;
        let named = |field: &str| {
            let part = |part: &str| {
                let text = own.get(field)?.get(part).and_then(Value::as_str);
                Some(text.unwrap_or_default().to_owned())
            };
            Some(Named {
                name: part("name")?,
                uid: part("uid")?,
            })
        };
        let bound = match (named("pod"), named("secret"), named("node")) {
            (Some(pod), _, node) => Some(Bound::Pod(pod, node)),
            (None, Some(secret), _) => Some(Bound::Secret(secret)),
            (None, None, Some(node)) => Some(Bound::Node(node)),
            (None, None, None) => None,
        };
        Some(Self {
            issuer: text("iss").to_owned(),
            audiences,
            issued: time("iat").unwrap_or(0),
            // What does not say when it ends has ended.
            expires: time("exp").unwrap_or(0),
            not_before: time("nbf").unwrap_or(0),
            id: text("jti").to_owned(),
            namespace: own.get("namespace").and_then(Value::as_str)?.to_owned(),
            account: named("serviceaccount")?,
            bound,
            warn_after: own.get("warnafter").and_then(Value::as_i64),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> Named {
        Named {
            name: name.into(),
            uid: format!("{name}-uid"),
        }
    }

    #[test]
    fn claims_are_written_and_read() {
        let claims = Claims {
            issuer: "https://k".into(),
            audiences: vec!["a".into(), "b".into()],
            issued: 10,
            expires: 20,
            not_before: 10,
            id: "id".into(),
            namespace: "ns".into(),
            account: named("sa"),
            bound: None,
            warn_after: None,
        };
        for (bound, shown) in [
            (None, json!({})),
            (
                Some(Bound::Pod(named("p"), None)),
                json!({ "pod": { "name": "p", "uid": "p-uid" } }),
            ),
            (
                Some(Bound::Pod(
                    named("p"),
                    Some(Named {
                        name: "n".into(),
                        uid: String::new(),
                    }),
                )),
                json!({ "pod": { "name": "p", "uid": "p-uid" }, "node": { "name": "n" } }),
            ),
            (
                Some(Bound::Secret(named("s"))),
                json!({ "secret": { "name": "s", "uid": "s-uid" } }),
            ),
            (
                Some(Bound::Node(named("n"))),
                json!({ "node": { "name": "n", "uid": "n-uid" } }),
            ),
        ] {
            let claims = Claims {
                bound,
                ..claims.clone()
            };
            let value = claims.to_value();
            assert_eq!(value["sub"], "system:serviceaccount:ns:sa");
            for (field, expected) in shown.as_object().unwrap() {
                assert_eq!(&value["kubernetes.io"][field], expected);
            }
            assert_eq!(Claims::from_value(&value), Some(claims));
        }
        for value in [
            json!({}),
            json!({ "kubernetes.io": {} }),
            json!({ "kubernetes.io": { "namespace": "n" } }),
            json!([]),
        ] {
            assert_eq!(Claims::from_value(&value), None);
        }
    }
}
