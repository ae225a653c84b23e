//! What the server counts, as Prometheus text under the names that the real server uses. Each server has its own.
use super::registry::Resource;
use super::request::Verb;
use super::server::Shared;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// The upper bounds of the buckets of durations, in seconds.
const BOUNDS: [f64; 11] = [0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 5.0, 60.0];

/// The counts of one server.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    requests: Mutex<BTreeMap<Key, Series>>,
    watches: Arc<AtomicUsize>,
}

/// What requests are told apart by. A resource is known by where it is; the series keeps it there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    resource: usize,
    subresource: Option<usize>,
    verb: &'static str,
    scope: &'static str,
    code: u16,
}

#[derive(Debug)]
struct Series {
    resource: Arc<Resource>,
    count: u64,
    seconds: f64,
    /// How many took as long as the bound or less.
    buckets: [u64; BOUNDS.len()],
}

/// A request that is counted when it is answered.
#[derive(Debug)]
pub(crate) struct Counted {
    resource: Arc<Resource>,
    key: Key,
}

/// A watch under way.
#[derive(Debug)]
pub(crate) struct Watching(Arc<AtomicUsize>);

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Counted {
    pub(crate) fn new(
        resource: &Arc<Resource>,
        verb: Verb,
        namespace: &str,
        name: &str,
        subresource: Option<&str>,
    ) -> Self {
        let sub = |wanted: &str| {
            let mut subs = resource.subresources.iter();
            subs.position(|sub| sub.name == wanted)
        };
        let key = Key {
            resource: Arc::as_ptr(resource).addr(),
            subresource: subresource.and_then(sub),
            verb: verb_name(verb),
            scope: match (namespace, name) {
                _ if !name.is_empty() => "resource",
                ("", _) => "cluster",
                _ => "namespace",
            },
            code: 0,
        };
        Self {
            resource: resource.clone(),
            key,
        }
    }
}

impl Metrics {
    /// Counts an answer.
    pub(crate) fn answered(&self, counted: Counted, code: u16, took: Duration) {
        let key = Key {
            code,
            ..counted.key
        };
        let mut requests = self.requests.lock();
        let series = requests.entry(key).or_insert_with(|| Series {
            resource: counted.resource,
            count: 0,
            seconds: 0.0,
            buckets: [0; BOUNDS.len()],
        });
        let seconds = took.as_secs_f64();
        series.count += 1;
        series.seconds += seconds;
        for (bound, bucket) in BOUNDS.iter().zip(&mut series.buckets) {
            *bucket += u64::from(seconds <= *bound);
        }
    }

    /// Counts a watch for as long as what is given lives.
    pub(crate) fn watching(&self) -> Watching {
        self.watches.fetch_add(1, Ordering::Relaxed);
        Watching(self.watches.clone())
    }

    /// All of it as text.
    pub(crate) fn text(&self, shared: &Shared) -> String {
        let mut out = String::new();
        let (reading, writing) = shared.in_flight.now();
        head(
            &mut out,
            "apiserver_current_inflight_requests",
            "gauge",
            "Maximal number of currently used inflight request limit of this apiserver per request kind in last second.",
        );
        for (kind, count) in [("mutating", writing), ("readOnly", reading)] {
            // Writing to a string cannot fail, here and below.
            let _ = writeln!(
                out,
                "apiserver_current_inflight_requests{{request_kind=\"{kind}\"}} {count}"
            );
        }
        head(
            &mut out,
            "apiserver_longrunning_requests",
            "gauge",
            "Gauge of all active long-running apiserver requests broken out by verb, group, version, resource, scope and component. Not all requests are tracked this way.",
        );
        let watches = self.watches.load(Ordering::Relaxed);
        let _ = writeln!(
            out,
            "apiserver_longrunning_requests{{component=\"apiserver\",verb=\"WATCH\"}} {watches}"
        );
        self.requests(&mut out);
        head(
            &mut out,
            "apiserver_storage_objects",
            "gauge",
            "Number of stored objects at the time of last check split by kind. In case of a fetching error, the value will be -1.",
        );
        for (resource, count) in shared.cacher.counts() {
            let _ = writeln!(
                out,
                "apiserver_storage_objects{{resource=\"{resource}\"}} {count}"
            );
        }
        process(&mut out);
        out
    }

    fn requests(&self, out: &mut String) {
        let requests = self.requests.lock();
        // In the order of what is seen, not of where resources are.
        let mut lines: Vec<(String, String, &Series)> = requests
            .iter()
            .map(|(key, series)| {
                let (labels, code) = (labels(key, &series.resource), key.code);
                (labels, code.to_string(), series)
            })
            .collect();
        lines.sort_by(|one, other| (&one.0, &one.1).cmp(&(&other.0, &other.1)));
        head(
            out,
            "apiserver_request_total",
            "counter",
            "Counter of apiserver requests broken out for each verb, dry run value, group, version, resource, scope, component, and HTTP response code.",
        );
        for (labels, code, series) in &lines {
            let _ = writeln!(
                out,
                "apiserver_request_total{{code=\"{code}\",{labels}}} {}",
                series.count
            );
        }
        let name = "apiserver_request_duration_seconds";
        head(
            out,
            name,
            "histogram",
            "Response latency distribution in seconds for each verb, dry run value, group, version, resource, subresource, scope and component.",
        );
        // Codes are not told apart here.
        let mut sums: BTreeMap<&str, (u64, f64, [u64; BOUNDS.len()])> = BTreeMap::new();
        for (labels, _, series) in &lines {
            let (count, seconds, buckets) = sums.entry(labels).or_default();
            *count += series.count;
            *seconds += series.seconds;
            for (sum, bucket) in buckets.iter_mut().zip(series.buckets) {
                *sum += bucket;
            }
        }
        for (labels, (count, seconds, buckets)) in sums {
            for (bound, bucket) in BOUNDS.iter().zip(buckets) {
                let _ = writeln!(out, "{name}_bucket{{{labels},le=\"{bound}\"}} {bucket}");
            }
            let _ = writeln!(out, "{name}_bucket{{{labels},le=\"+Inf\"}} {count}");
            let _ = writeln!(out, "{name}_sum{{{labels}}} {seconds}");
            let _ = writeln!(out, "{name}_count{{{labels}}} {count}");
        }
    }
}

fn verb_name(verb: Verb) -> &'static str {
    match verb {
        Verb::Get => "GET",
        Verb::List => "LIST",
        Verb::Watch => "WATCH",
        Verb::Create => "POST",
        Verb::Update => "PUT",
        Verb::Patch => "PATCH",
        Verb::Delete => "DELETE",
        Verb::DeleteCollection => "DELETECOLLECTION",
        Verb::Connect => "CONNECT",
    }
}

fn labels(key: &Key, resource: &Resource) -> String {
    let sub = key
        .subresource
        .and_then(|index| resource.subresources.get(index));
    let sub = sub.map_or("", |sub| &sub.name);
    let gvk = &resource.gvk;
    format!(
        "component=\"apiserver\",group=\"{}\",resource=\"{}\",scope=\"{}\",subresource=\"{sub}\",verb=\"{}\",version=\"{}\"",
        gvk.group, resource.plural, key.scope, key.verb, gvk.version
    )
}

fn head(out: &mut String, name: &str, ty: &str, help: &str) {
    let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} {ty}\n");
}

/// What the operating system says of the process; nothing where it has no `/proc`.
fn process(out: &mut String) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let bytes = |field: &str| {
        let line = status.lines().find(|line| line.starts_with(field))?;
        let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
        Some(kilobytes * 1024)
    };
    let values = [
        (
            "process_resident_memory_bytes",
            "Resident memory size in bytes.",
            bytes("VmRSS:"),
        ),
        (
            "process_virtual_memory_bytes",
            "Virtual memory size in bytes.",
            bytes("VmSize:"),
        ),
        (
            "process_open_fds",
            "Number of open file descriptors.",
            std::fs::read_dir("/proc/self/fd")
                .ok()
                .map(|files| files.count() as u64),
        ),
    ];
    for (name, help, value) in values {
        if let Some(value) = value {
            head(out, name, "gauge", help);
            let _ = writeln!(out, "{name} {value}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apiserver::registry::testing::registry;

    #[test]
    fn requests_are_counted_by_what_they_are() {
        let registry = registry();
        let pods = registry.get("", "v1", "pods").unwrap();
        let metrics = Metrics::default();
        let count = |verb, name, sub, code, took| {
            let counted = Counted::new(&pods, verb, "default", name, sub);
            metrics.answered(counted, code, Duration::from_millis(took));
        };
        count(Verb::List, "", None, 200, 1);
        count(Verb::Get, "a", None, 200, 30);
        count(Verb::Get, "b", None, 404, 300);
        count(Verb::Patch, "b", Some("status"), 200, 0);
        let mut out = String::new();
        metrics.requests(&mut out);
        let labels = |scope: &str, sub: &str, verb: &str| {
            format!(
                "component=\"apiserver\",group=\"\",resource=\"pods\",scope=\"{scope}\",subresource=\"{sub}\",verb=\"{verb}\",version=\"v1\""
            )
        };
        let get = labels("resource", "", "GET");
        for line in [
            format!(
                "apiserver_request_total{{code=\"200\",{}}} 1",
                labels("namespace", "", "LIST")
            ),
            format!("apiserver_request_total{{code=\"404\",{get}}} 1"),
            format!(
                "apiserver_request_total{{code=\"200\",{}}} 1",
                labels("resource", "status", "PATCH")
            ),
            format!("apiserver_request_duration_seconds_bucket{{{get},le=\"0.05\"}} 1"),
            format!("apiserver_request_duration_seconds_bucket{{{get},le=\"+Inf\"}} 2"),
            format!("apiserver_request_duration_seconds_count{{{get}}} 2"),
        ] {
            assert!(out.lines().any(|found| found == line), "{line}\n{out}");
        }
        let watching = metrics.watching();
        assert_eq!(metrics.watches.load(Ordering::Relaxed), 1);
        drop(watching);
        assert_eq!(metrics.watches.load(Ordering::Relaxed), 0);
    }
}
