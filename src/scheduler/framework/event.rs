//! What happens in the cluster, and which of it may let a rejected pod fit: events, and the plugins' queueing hints.

use std::any::Any;
use std::borrow::Cow;
use std::fmt;
use std::ops::BitOr;

/// What an event is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Resource {
    /// A node. The objects of the event are [`Node`](k8s_openapi::api::core::v1::Node)s.
    Node,
    /// A pod that is on a node, or assumed to be. The objects are [`PodInfo`](super::PodInfo)s.
    AssignedPod,
    /// A pod that is on no node, and not the one that is asked for. The objects are [`PodInfo`](super::PodInfo)s.
    UnscheduledPod,
    /// The waiting pod itself. The objects are [`PodInfo`](super::PodInfo)s.
    TargetPod,
    /// A namespace. The objects are [`Namespace`](k8s_openapi::api::core::v1::Namespace)s.
    Namespace,
    /// An object of another kind, which a plugin follows through [`Handle::cache`](super::Handle::cache). The objects are of
    /// the type that the cache holds.
    Kind(Cow<'static, str>),
}

impl Resource {
    /// Objects of a kind that a plugin follows, such as `PersistentVolumeClaim`.
    #[must_use]
    pub const fn kind(kind: &'static str) -> Self {
        Self::Kind(Cow::Borrowed(kind))
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Node => "Node",
            Self::AssignedPod => "AssignedPod",
            Self::UnscheduledPod => "UnscheduledPod",
            Self::TargetPod => "TargetPod",
            Self::Namespace => "Namespace",
            Self::Kind(kind) => kind,
        })
    }
}

/// A set of kinds of change. `A | B` is the union.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Actions(u16);

impl Actions {
    /// An object appeared (a pod: on its node).
    pub const ADD: Self = Self(1);
    /// An object is gone (a pod: from its node, or it ended there).
    pub const DELETE: Self = Self(1 << 1);
    /// What a node can give out changed.
    pub const UPDATE_NODE_ALLOCATABLE: Self = Self(1 << 2);
    /// A node's labels changed.
    pub const UPDATE_NODE_LABEL: Self = Self(1 << 3);
    /// A node's taints or its cordon changed.
    pub const UPDATE_NODE_TAINT: Self = Self(1 << 4);
    /// A node's conditions changed.
    pub const UPDATE_NODE_CONDITION: Self = Self(1 << 5);
    /// A node's annotations changed.
    pub const UPDATE_NODE_ANNOTATION: Self = Self(1 << 6);
    /// A pod's labels changed.
    pub const UPDATE_POD_LABEL: Self = Self(1 << 7);
    /// A pod requests less than before.
    pub const UPDATE_POD_SCALE_DOWN: Self = Self(1 << 8);
    /// A pod's tolerations changed.
    pub const UPDATE_POD_TOLERATION: Self = Self(1 << 9);
    /// A pod's last scheduling gate was taken away.
    pub const UPDATE_POD_GATES_ELIMINATED: Self = Self(1 << 10);
    /// A resource claim of a pod was made.
    pub const UPDATE_POD_RESOURCE_CLAIM: Self = Self(1 << 11);
    /// An object changed in a way that has no name of its own here.
    pub const UPDATE_OTHER: Self = Self(1 << 12);
    /// What a node declares to be able to do changed.
    pub const UPDATE_NODE_DECLARED_FEATURE: Self = Self(1 << 13);
    /// Any change of an object that stays.
    pub const UPDATE: Self = Self(0x3ffc);
    /// Anything.
    pub const ALL: Self = Self(0x3fff);

    /// Whether the two have something in common.
    #[must_use]
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl BitOr for Actions {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Display for Actions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [(Actions, &str); 14] = [
            (Actions::ADD, "Add"),
            (Actions::DELETE, "Delete"),
            (Actions::UPDATE_NODE_ALLOCATABLE, "UpdateNodeAllocatable"),
            (Actions::UPDATE_NODE_LABEL, "UpdateNodeLabel"),
            (Actions::UPDATE_NODE_TAINT, "UpdateNodeTaint"),
            (Actions::UPDATE_NODE_CONDITION, "UpdateNodeCondition"),
            (Actions::UPDATE_NODE_ANNOTATION, "UpdateNodeAnnotation"),
            (Actions::UPDATE_POD_LABEL, "UpdatePodLabel"),
            (Actions::UPDATE_POD_SCALE_DOWN, "UpdatePodScaleDown"),
            (Actions::UPDATE_POD_TOLERATION, "UpdatePodToleration"),
            (
                Actions::UPDATE_POD_GATES_ELIMINATED,
                "UpdatePodSchedulingGatesEliminated",
            ),
            (
                Actions::UPDATE_POD_RESOURCE_CLAIM,
                "UpdatePodGeneratedResourceClaim",
            ),
            (Actions::UPDATE_OTHER, "Update"),
            (
                Actions::UPDATE_NODE_DECLARED_FEATURE,
                "UpdateNodeDeclaredFeature",
            ),
        ];
        if *self == Self::ALL {
            return f.write_str("All");
        }
        // All updates are one word.
        let every = self.0 & Self::UPDATE.0 == Self::UPDATE.0;
        let shown = Self(if every {
            self.0 & !Self::UPDATE.0 | Self::UPDATE_OTHER.0
        } else {
            self.0
        });
        let mut names = NAMES
            .iter()
            .filter(|(actions, _)| shown.intersects(*actions));
        if let Some((_, first)) = names.next() {
            f.write_str(first)?;
        }
        names.try_for_each(|(_, name)| write!(f, "|{name}"))
    }
}

/// Events a plugin waits for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EventPattern {
    /// About what; `None`: anything.
    pub resource: Option<Resource>,
    /// What happened to it.
    pub actions: Actions,
}

impl EventPattern {
    /// These changes of this.
    #[must_use]
    pub const fn new(resource: Resource, actions: Actions) -> Self {
        Self {
            resource: Some(resource),
            actions,
        }
    }

    /// Anything that happens.
    #[must_use]
    pub const fn any() -> Self {
        Self {
            resource: None,
            actions: Actions::ALL,
        }
    }

    /// Whether `event` is one of these.
    #[must_use]
    pub fn covers(&self, event: &ClusterEvent<'_>) -> bool {
        self.actions.intersects(event.actions)
            && self
                .resource
                .as_ref()
                .is_none_or(|resource| *resource == event.resource)
    }
}

impl fmt::Display for EventPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.resource {
            Some(resource) => write!(f, "{resource}/{}", self.actions),
            None => write!(f, "*/{}", self.actions),
        }
    }
}

type Object<'a> = &'a (dyn Any + Send + Sync);

/// Something that happened in the cluster and may let a waiting pod fit.
#[derive(Clone)]
pub struct ClusterEvent<'a> {
    /// About what.
    pub resource: Resource,
    /// What happened to it.
    pub actions: Actions,
    old: Option<Object<'a>>,
    new: Option<Object<'a>>,
}

impl<'a> ClusterEvent<'a> {
    /// An event without objects.
    #[must_use]
    pub const fn new(resource: Resource, actions: Actions) -> Self {
        Self {
            resource,
            actions,
            old: None,
            new: None,
        }
    }

    /// With the object as it was and as it is.
    #[must_use]
    pub fn with<T: Any + Send + Sync>(mut self, old: Option<&'a T>, new: Option<&'a T>) -> Self {
        self.old = old.map(|object| object as Object<'a>);
        self.new = new.map(|object| object as Object<'a>);
        self
    }

    /// As metrics name it: `NodeAdd`.
    pub(crate) fn label(&self) -> String {
        format!("{}{}", self.resource, self.actions)
    }

    pub(crate) fn with_objects(mut self, old: Option<Object<'a>>, new: Option<Object<'a>>) -> Self {
        (self.old, self.new) = (old, new);
        self
    }

    /// The object as it was, of the type that [`Resource`] states.
    #[must_use]
    pub fn old<T: Any>(&self) -> Option<&'a T> {
        self.old?.downcast_ref()
    }

    /// The object as it is; `None` when it is gone.
    #[must_use]
    pub fn new_object<T: Any>(&self) -> Option<&'a T> {
        self.new?.downcast_ref()
    }
}

impl fmt::Debug for ClusterEvent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.resource, self.actions)
    }
}

/// What a plugin says of an event for which it waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hint {
    /// It may let the pod fit: try again.
    Queue,
    /// It does not change what the plugin said.
    Skip,
}
