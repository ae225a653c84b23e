//! Kinds of the group `policy`.

mod disruption_budget;

pub(super) use self::disruption_budget::PodDisruptionBudget;
