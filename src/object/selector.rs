//! Label and field selectors.
use std::collections::BTreeMap;

/// A parsed label selector: the requirements, all of which must hold. The default selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector {
    requirements: Vec<Requirement>,
}

/// One requirement on one label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// The label.
    pub key: String,
    /// How its value is compared.
    pub operator: Operator,
    /// With what, sorted.
    pub values: Vec<String>,
}

/// How a label is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// The value is one of these.
    In,
    /// The label is absent or its value is none of these.
    NotIn,
    /// The label is there.
    Exists,
    /// The label is absent.
    DoesNotExist,
    /// Its value is an integer greater than this.
    GreaterThan,
    /// Its value is an integer less than this.
    LessThan,
}

impl LabelSelector {
    /// Parses `a=b,c!=d,e in (f,g),h notin (i),j,!k,l>1,m<2`.
    ///
    /// # Errors
    /// The text that Kubernetes gives for it.
    pub fn parse(_text: &str) -> Result<Self, String> {
        todo!()
    }
    /// From the requirements.
    #[must_use]
    pub fn new(requirements: Vec<Requirement>) -> Self {
        Self { requirements }
    }
    /// From a typed `metav1.LabelSelector`. An absent selector is the caller's matter: it selects nothing in most places.
    ///
    /// # Errors
    /// An operator that does not exist or whose values do not fit.
    pub fn from_typed(
        _selector: &k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector,
    ) -> Result<Self, String> {
        todo!()
    }
    /// From the JSON form of a `metav1.LabelSelector`.
    ///
    /// # Errors
    /// As [`LabelSelector::from_typed`].
    pub fn from_value(_selector: &serde_json::Value) -> Result<Self, String> {
        todo!()
    }
    /// From equality pairs.
    #[must_use]
    pub fn from_pairs<'a>(_pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        todo!()
    }
    /// Whether it selects everything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }
    /// The requirements.
    #[must_use]
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }
    /// Whether an object selects with the given label lookup.
    pub fn matches_with<'a>(&self, _lookup: impl Fn(&str) -> Option<&'a str>) -> bool {
        todo!()
    }
    /// Whether `labels` fit.
    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.matches_with(|key| labels.get(key).map(String::as_str))
    }
    /// Whether `labels`, absent meaning none, fit.
    #[must_use]
    pub fn matches_optional(&self, labels: Option<&BTreeMap<String, String>>) -> bool {
        self.matches_with(|key| {
            labels
                .and_then(|labels| labels.get(key))
                .map(String::as_str)
        })
    }
}

/// A parsed field selector: `metadata.name=x,spec.nodeName!=y`. The default selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector {
    /// Each term: field, whether it must be equal, value.
    pub terms: Vec<FieldTerm>,
}

/// One term of a field selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldTerm {
    /// The field label.
    pub field: String,
    /// `=`/`==` when true, `!=` when false.
    pub equal: bool,
    /// The value.
    pub value: String,
}

impl FieldSelector {
    /// Parses it (with `\\`, `\,` and `\=` as escapes in values).
    ///
    /// # Errors
    /// The text that Kubernetes gives for it.
    pub fn parse(_text: &str) -> Result<Self, String> {
        todo!()
    }
    /// Whether it selects everything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }
    /// The value that `field` must equal, if a term says so.
    #[must_use]
    pub fn requires(&self, field: &str) -> Option<&str> {
        self.terms
            .iter()
            .find(|term| term.equal && term.field == field)
            .map(|term| term.value.as_str())
    }
    /// Whether an object with the given field lookup fits. An absent field is `""`.
    pub fn matches_with<'a>(&self, lookup: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.terms
            .iter()
            .all(|term| (lookup(&term.field).unwrap_or_default() == term.value) == term.equal)
    }
}
