//! The part of a decision that extenders have: they are asked after the filters, when nodes are scored, and about who has to leave.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::super::framework::{Candidates, Decision, Extender, Status, Unfit, Verdicts, Victims};
use super::{SchedulingCycle, Search, caught, explain_more};

/// Extenders look at so many nodes at most on which room could be made.
const MOST_ROOMS: usize = 100;

/// What extenders add: their words on nodes, and scores in the order of the nodes that fit.
#[derive(Default)]
pub(super) struct ByExtenders {
    pub(super) rejected: Vec<(usize, Status)>,
    pub(super) scores: Vec<i64>,
}

/// Asks the extenders.
pub(super) async fn extend(search: &mut Search<'_>) -> Result<ByExtenders, String> {
    let mut by = ByExtenders::default();
    let nodes = search.snapshot.nodes();
    let extenders = search.framework.extenders.iter();
    let interested: Vec<_> = extenders
        .filter(|extender| extender.is_interested(search.pod))
        .collect();
    for extender in &interested {
        if search.fitting.is_empty() {
            break;
        }
        let given = search.nodes();
        match extender.filter(search.pod, &given).await {
            Ok(said) => {
                let fitting: BTreeSet<&str> = said.fitting.iter().map(|name| &**name).collect();
                let rejected = said.rejected.iter().filter_map(|(name, status)| {
                    let status = status.clone().by(extender.name());
                    Some((search.snapshot.position(name)?, status))
                });
                by.rejected.extend(rejected);
                search.fitting.retain(|position| {
                    let node = nodes.get(*position);
                    node.is_some_and(|node| fitting.contains(&*node.name))
                });
            }
            Err(error) if extender.is_ignorable() => {
                tracing::warn!(%error, extender = extender.name(), "an extender failed and is ignored");
            }
            Err(error) => return Err(format!("extender {}: {error}", extender.name())),
        }
    }
    if search.fitting.len() > 1 {
        let given = search.nodes();
        by.scores = vec![0; given.len()];
        for extender in interested {
            match extender.prioritize(search.pod, &given).await {
                Ok(scores) => {
                    let all = by.scores.iter_mut().zip(scores);
                    all.for_each(|(total, score)| *total += score);
                }
                Err(error) => {
                    tracing::warn!(%error, extender = extender.name(), "an extender does not score");
                }
            }
        }
    }
    Ok(by)
}

impl SchedulingCycle {
    /// Says why no node fits, and has the extenders look at those on which room could be made.
    pub(super) async fn rescue(
        &mut self,
        mut search: Search<'_>,
        by: &ByExtenders,
        extenders: &[&Arc<dyn Extender>],
    ) -> Decision {
        let found = caught(|| {
            let verdicts = search.diagnose(&by.rejected);
            let verdicts = verdicts.map_err(Decision::Failed)?;
            Ok(self.rooms(&search, verdicts))
        });
        self.put(&mut search);
        let (mut unfit, rooms) = match found {
            Ok(found) => found,
            Err(decision) => return decision,
        };
        let order: Vec<Arc<str>> = rooms.iter().map(|(node, _)| node.clone()).collect();
        let mut left: Candidates = rooms.into_iter().collect();
        for extender in extenders {
            if left.is_empty() {
                break;
            }
            match extender.preempt(search.pod, &left, search.snapshot).await {
                Ok(agreed) => left = agreed,
                Err(error) if extender.is_ignorable() => {
                    tracing::warn!(%error, extender = extender.name(), "an extender failed and is ignored");
                }
                Err(error) => {
                    explain_more(&mut unfit, &format!("preemption: {error}"));
                    return Decision::Unfit(unfit);
                }
            }
        }
        let mut best = order.into_iter();
        unfit.room = best.find_map(|node| {
            let victims = left.remove(&node)?;
            Some((node, victims.pods))
        });
        Decision::Unfit(unfit)
    }

    /// Why no node fits, and the nodes on which room could be made, the best first.
    fn rooms(
        &mut self,
        search: &Search<'_>,
        mut verdicts: Verdicts,
    ) -> (Unfit, Vec<(Arc<str>, Victims)>) {
        let (first, mut violations) = self.unfit(search, &verdicts);
        let (mut rooms, mut room) = (Vec::new(), first.room.clone());
        while let Some((node, pods)) = room {
            let taken = search.snapshot.position(&node);
            rooms.push((node, Victims { pods, violations }));
            // The next best is what there is without this one.
            let Some(taken) = taken.filter(|_| rooms.len() < MOST_ROOMS) else {
                break;
            };
            verdicts.set(taken, &Status::unresolvable("considered"));
            let (next, of_next) = self.unfit(search, &verdicts);
            (room, violations) = (next.room, of_next);
        }
        (
            Unfit {
                room: None,
                ..first
            },
            rooms,
        )
    }
}
