//! `Priority`: a pod's priority follows from its priority class.
use super::cached::Compiled;
use super::{Admission, AdmissionRequest, Operation};
use crate::object::{Document, Status};
use async_trait::async_trait;
use serde_json::Value;
use std::sync::Arc;

const GROUP: &str = "scheduling.k8s.io";
const CLASSES: &str = "priorityclasses";
/// The classes that every cluster has, in case they are not stored yet.
const SYSTEM: [(&str, i64); 2] = [
    ("system-cluster-critical", 2_000_000_000),
    ("system-node-critical", 2_000_001_000),
];
const PREEMPT: &str = "PreemptLowerPriority";

#[derive(Debug)]
pub(super) struct Priority {
    classes: Compiled<Class>,
}

impl Default for Priority {
    fn default() -> Self {
        Self {
            classes: Compiled::new(GROUP, CLASSES, Class::of),
        }
    }
}

/// A priority class.
struct Class {
    name: String,
    value: i64,
    /// `""`: it says nothing of it.
    preemption: String,
    is_default: bool,
}

impl Class {
    fn of(object: Value) -> Self {
        Self {
            name: object.name().to_owned(),
            value: object.i64_at(&["value"]).unwrap_or(0),
            preemption: object.str_at(&["preemptionPolicy"]).to_owned(),
            is_default: object.bool_at(&["globalDefault"]) == Some(true),
        }
    }
}

/// What a pod gets from its class.
struct Computed {
    /// The class, when it is the default.
    class: Option<String>,
    value: i64,
    preemption: Option<String>,
}

#[async_trait]
impl Admission for Priority {
    fn name(&self) -> &'static str {
        "Priority"
    }

    async fn mutate(
        &self,
        request: &AdmissionRequest<'_>,
        object: &mut Value,
    ) -> Result<(), Status> {
        if !request.writes("", "pods") {
            return Ok(());
        }
        if request.operation == Operation::Update {
            // Set once and kept: what an update leaves out stays.
            for field in ["priority", "preemptionPolicy"] {
                let old = request.old.and_then(|old| old.at(&["spec", field]));
                if let Some(old) = old {
                    object.default_at(&["spec", field], old.clone());
                }
            }
            return Ok(());
        }
        let computed = self.compute(request, object).await?;
        let given = object.i64_at(&["spec", "priority"]);
        if let Some(given) = given.filter(|given| *given != computed.value) {
            let why = format!(
                "the integer value of priority ({given}) must not be provided in pod spec; priority admission controller computed {} \
                 from the given PriorityClass name",
                computed.value
            );
            return Err(request.forbidden(Some(object), &why));
        }
        if let Some(preemption) = computed.preemption {
            let given = object.str_at(&["spec", "preemptionPolicy"]);
            if !given.is_empty() && given != preemption {
                let why = format!(
                    "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority admission controller \
                     computed {preemption} from the given PriorityClass name"
                );
                return Err(request.forbidden(Some(object), &why));
            }
            object.set_at(&["spec", "preemptionPolicy"], preemption);
        }
        object.set_at(&["spec", "priority"], computed.value);
        if let Some(class) = computed.class {
            object.set_at(&["spec", "priorityClassName"], class);
        }
        Ok(())
    }

    async fn validate(
        &self,
        request: &AdmissionRequest<'_>,
        object: Option<&Value>,
    ) -> Result<(), Status> {
        let Some(class) = object.filter(|_| request.writes(GROUP, CLASSES)) else {
            return Ok(());
        };
        if class.bool_at(&["globalDefault"]) != Some(true) {
            return Ok(());
        }
        match self.default_class(request).await? {
            Some(default)
                if request.operation == Operation::Create || default.name != class.name() =>
            {
                let why = format!(
                    "PriorityClass {} is already marked as default. Only one default can exist",
                    default.name
                );
                Err(request.forbidden(object, &why))
            }
            _ => Ok(()),
        }
    }
}

impl Priority {
    async fn compute(
        &self,
        request: &AdmissionRequest<'_>,
        pod: &Value,
    ) -> Result<Computed, Status> {
        let name = pod.str_at(&["spec", "priorityClassName"]);
        let of = |class: &Class, name: Option<&str>| Computed {
            class: name.map(str::to_owned),
            value: class.value,
            preemption: Some(class.preemption.clone()).filter(|policy| !policy.is_empty()),
        };
        let without = |value| Computed {
            class: None,
            value,
            preemption: Some(PREEMPT.to_owned()),
        };
        if name.is_empty() {
            let default = self.default_class(request).await?;
            return Ok(default.map_or_else(|| without(0), |class| of(&class, Some(&class.name))));
        }
        // One that is not known yet is asked for by its name.
        let found = request.view.get(GROUP, "v1", CLASSES, "", name).await?;
        if let Some(class) = found {
            return Ok(of(&Class::of(class), None));
        }
        match SYSTEM.iter().find(|(system, _)| *system == name) {
            Some((_, value)) => Ok(without(*value)),
            None => Err(request.forbidden(
                Some(pod),
                &format!("no PriorityClass with name {name} was found"),
            )),
        }
    }

    /// The class that is the default; of several the one of the lowest value.
    async fn default_class(
        &self,
        request: &AdmissionRequest<'_>,
    ) -> Result<Option<Arc<Class>>, Status> {
        let classes = self.classes.all(&request.view).await?;
        let defaults = classes.into_iter().filter(|class| class.is_default);
        Ok(defaults.min_by_key(|class| class.value))
    }
}
