//! Pods that are scheduled together or not at all: one run decides about all of them, before anything else is decided. What a gang
//! that does not fit would have taken is given back within the run, so no two gangs can hold what the other one needs.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::time::Instant;

use super::{Attempt, Loop, Outcome, Tail};
use crate::reconcile::Key;
use crate::scheduler::framework::{
    CycleState, Decision, Framework, Gang, GangVerdict, PodInfo, Unfit,
};
use crate::scheduler::queue::Queued;

/// What was decided about one pod of the gang.
enum Verdict {
    /// It fits, and is counted there for now.
    Fits(Arc<str>, CycleState),
    /// It does not.
    Unfit(Unfit),
    /// A plugin failed.
    Failed(String),
    /// It was not looked at: the gang cannot be complete without others.
    Open,
}

struct Member {
    info: Arc<PodInfo>,
    framework: Arc<Framework>,
    attempt: Attempt,
    verdict: Verdict,
}

impl Member {
    fn new(queued: Queued) -> Self {
        Self {
            attempt: Attempt::of(&queued),
            info: queued.info,
            framework: queued.framework,
            verdict: Verdict::Open,
        }
    }
}

impl Loop {
    /// Schedules the gang of a pod that was taken from the queue.
    pub(super) async fn schedule_gang(&mut self, first: Queued, gang: Gang) {
        let mut members = gang.members.iter();
        let busy = members.find(|key| self.preempting.contains_key(*key));
        if let Some(came) = busy.and_then(|key| self.preempting.get_mut(key)) {
            // Room is being made for one of them; they are tried when that is done.
            self.queue.hold(&first.info.key);
            came.insert(first.info.key.clone());
            return;
        }
        let (began, profile) = (Instant::now(), first.framework.shared_name());
        let placed = self.placed(&gang);
        let mut members = vec![Member::new(first)];
        if placed < gang.quorum {
            let others = self.queue.take_these(&gang.members);
            members.extend(others.into_iter().map(Member::new));
            members.sort_by_key(|member| std::cmp::Reverse(member.info.priority));
        }
        // With those for which room would be made.
        let (mut fitting, mut helped) = (placed, placed);
        let count = members.len();
        for (index, member) in members.iter_mut().enumerate() {
            if helped + (count - index) < gang.quorum {
                break;
            }
            member.verdict = self.try_out(member).await;
            match &member.verdict {
                Verdict::Fits(..) => {
                    fitting += 1;
                    helped += 1;
                }
                Verdict::Unfit(unfit) if unfit.room.is_some() || unfit.waits => helped += 1,
                _ => {}
            }
        }
        for member in &members {
            self.take_back(member);
        }
        let metrics = self.settings.metrics.clone();
        metrics.gang_decided(began.elapsed());
        let open = members.iter();
        let open = open.filter(|member| matches!(member.verdict, Verdict::Open));
        let (quorum, rest) = (gang.quorum, open.count());
        let message = format!(
            "minCount ({quorum}) cannot be satisfied: {fitting} scheduled, {rest} remaining"
        );
        let failure = members.iter().find_map(|member| match &member.verdict {
            Verdict::Failed(error) => Some(error.clone()),
            _ => None,
        });
        let (outcome, verdict) = match failure {
            _ if fitting >= quorum => (Outcome::Scheduled, GangVerdict::Scheduled),
            Some(error) => (Outcome::Error, GangVerdict::Failed(error)),
            None => (
                Outcome::Unschedulable,
                GangVerdict::Unschedulable(message.clone()),
            ),
        };
        let first = members.first();
        let about = first.map(|member| (member.framework.clone(), member.info.clone()));
        if fitting >= quorum {
            self.place(members, &gang).await;
        } else {
            self.put_back(members, &gang, &message, helped >= quorum);
        }
        if let Some((framework, pod)) = about
            && let Some(told) = framework.gang_decided(&gang, &pod, verdict)
        {
            let guard = self.begin(&pod.key, "its gang was decided about");
            self.tails.spawn(async move {
                told.await;
                drop(guard);
                Tail::Reported
            });
        }
        metrics.gang_attempt(outcome, &profile, began.elapsed());
    }

    /// How many of a gang have their nodes, or are on their way there.
    fn placed(&self, gang: &Gang) -> usize {
        let waiting = self.settings.handle.waiting();
        let members = gang.members.iter();
        members
            .filter(|key| self.places.contains_key(*key))
            .filter(|key| {
                waiting
                    .get(key)
                    .is_none_or(|waiting| !waiting.is_rejected())
            })
            .count()
    }

    /// Decides about one pod, and counts it where it would be, so that the next one is decided about as if it were there.
    async fn try_out(&mut self, member: &mut Member) -> Verdict {
        member.attempt.began = Instant::now();
        let (framework, info) = (&member.framework, &member.info);
        let decision = self.decide(framework, info).await;
        let took = member.attempt.began.elapsed();
        self.settings.metrics.decided(took);
        match decision {
            Decision::Node(node, state) => {
                self.snapshot_mut().add_pod(&node, info);
                Verdict::Fits(node, state)
            }
            Decision::Unfit(unfit) => {
                if let Some((node, _)) = &unfit.room {
                    self.snapshot_mut().nominate(info, node);
                }
                Verdict::Unfit(unfit)
            }
            Decision::Failed(error) => Verdict::Failed(error),
        }
    }

    fn take_back(&mut self, member: &Member) {
        match &member.verdict {
            Verdict::Fits(node, _) => {
                self.snapshot_mut().remove_pod(node, &member.info.key);
            }
            Verdict::Unfit(unfit) if unfit.room.is_some() => {
                self.snapshot_mut().withdraw(&member.info.key);
            }
            _ => {}
        }
    }

    /// Enough of them fit: they get their nodes, and the others wait by themselves.
    async fn place(&mut self, members: Vec<Member>, gang: &Gang) {
        let mut others = Vec::new();
        for member in members {
            let (info, framework, attempt) = (member.info, member.framework, member.attempt);
            match member.verdict {
                Verdict::Fits(node, state) => {
                    self.assume(info, framework, node, state, attempt).await;
                }
                Verdict::Unfit(unfit) => others.push((info, framework, attempt, unfit)),
                Verdict::Failed(error) => {
                    self.ended(Outcome::Error, &framework, attempt);
                    self.failed(&info, error, "a plugin failed");
                }
                Verdict::Open => self.queue.retry(&info.key, "its gang was complete"),
            }
        }
        let is_complete = self.placed(gang) >= gang.quorum;
        for key in &gang.members {
            let waiting = self.settings.handle.waiting().get(key);
            let waiting = waiting.filter(|waiting| waiting.awaits(&gang.plugin));
            if let Some(waiting) = waiting {
                if is_complete {
                    waiting.allow(&gang.plugin);
                } else {
                    // A reservation of one of them failed.
                    waiting.reject(&gang.plugin, "its gang is not complete");
                }
            }
        }
        for (info, framework, attempt, unfit) in others {
            self.ended(Outcome::Unschedulable, &framework, attempt);
            self.unfit(&info, &framework, unfit);
        }
    }

    /// Not enough of them fit: none gets a node. Whatever lets one of them fit has all of them tried again. `is_helped`: enough
    /// would, after preemption; those that fit keep a claim on their nodes until then.
    fn put_back(&mut self, members: Vec<Member>, gang: &Gang, message: &str, is_helped: bool) {
        let mut rejectors = BTreeSet::from([gang.plugin.to_string()]);
        for member in &members {
            if let Verdict::Unfit(unfit) = &member.verdict {
                rejectors.extend(unfit.rejectors.iter().cloned());
            }
        }
        for member in members {
            let mut unfit = match member.verdict {
                Verdict::Failed(error) => {
                    self.ended(Outcome::Error, &member.framework, member.attempt);
                    self.failed(&member.info, error, "a plugin failed");
                    continue;
                }
                Verdict::Unfit(unfit) => unfit,
                Verdict::Fits(node, _) if is_helped => {
                    self.snapshot_mut().nominate(&member.info, &node);
                    Unfit {
                        message: message.to_owned(),
                        waits: true,
                        ..Unfit::default()
                    }
                }
                Verdict::Fits(..) | Verdict::Open => Unfit {
                    message: message.to_owned(),
                    ..Unfit::default()
                },
            };
            unfit.rejectors.clone_from(&rejectors);
            if !is_helped {
                (unfit.room, unfit.waits) = (None, false);
            }
            self.ended(Outcome::Unschedulable, &member.framework, member.attempt);
            self.unfit(&member.info, &member.framework, unfit);
        }
    }

    /// Tries pods again for which room was made, and those that came up meanwhile because of them.
    pub(super) fn room_is_made(&mut self, key: &Key) {
        let came = self.preempting.remove(key);
        for pod in came.into_iter().flatten() {
            self.queue.activate_now(&pod);
        }
    }
}
