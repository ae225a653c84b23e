//! Kinds of the group `batch`.

mod cron_job;
mod failure_policy;
mod indexes;
mod job;
mod schedule;
mod spec;
mod status;
mod zone;

pub(super) use self::cron_job::CronJob;
pub(super) use self::job::Job;

#[cfg(test)]
mod tests;
