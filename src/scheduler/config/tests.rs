//! Documents read, refused, and made into profiles.

use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::clock::Clock;
use crate::reconcile::Manager;
use crate::scheduler::framework::{
    ArgsError, CycleState, Filter, Framework, Handle, Hooks, NodeInfo, Plugin, PodInfo, Registry,
    Score, Status,
};

const HEAD: &str = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n";

#[track_caller]
fn read(text: &str) -> KubeSchedulerConfiguration {
    KubeSchedulerConfiguration::parse(&format!("{HEAD}{text}")).unwrap()
}

#[track_caller]
fn fails(text: &str, expected: &str) {
    let error = KubeSchedulerConfiguration::parse(&format!("{HEAD}{text}")).unwrap_err();
    assert_eq!(error.to_string(), expected, "{text}");
}

fn args<'a>(config: &'a KubeSchedulerConfiguration, name: &str) -> &'a Value {
    let configs = &config.profiles[0].plugin_config;
    &configs
        .iter()
        .find(|config| config.name == name)
        .unwrap()
        .args
}

#[test]
fn an_empty_document_has_the_defaults() {
    let config = read("");
    assert_eq!(config, KubeSchedulerConfiguration::default());
    assert_eq!(config.parallelism, 16);
    assert_eq!(config.profiles[0].scheduler_name, "default-scheduler");
    assert_eq!(config.leader_election, LeaderElection::default());
    assert_eq!(
        (
            config.pod_initial_backoff_seconds,
            config.pod_max_backoff_seconds
        ),
        (1, 10)
    );
    for (name, expected) in [
        (
            "DefaultPreemption",
            json!({"minCandidateNodesPercentage": 10, "minCandidateNodesAbsolute": 100}),
        ),
        (
            "InterPodAffinity",
            json!({"hardPodAffinityWeight": 1, "ignorePreferredTermsOfExistingPods": false}),
        ),
        ("NodeAffinity", json!({})),
        (
            "NodeResourcesBalancedAllocation",
            json!({"resources": [{"name": "cpu", "weight": 1}, {"name": "memory", "weight": 1}]}),
        ),
        (
            "NodeResourcesFit",
            json!({
                "ignoredResources": [], "ignoredResourceGroups": [],
                "scoringStrategy": {
                    "type": "LeastAllocated",
                    "resources": [{"name": "cpu", "weight": 1}, {"name": "memory", "weight": 1}],
                },
            }),
        ),
        (
            "PodTopologySpread",
            json!({"defaultConstraints": [], "defaultingType": "System"}),
        ),
        ("VolumeBinding", json!({"bindTimeoutSeconds": 600})),
    ] {
        assert_eq!(*args(&config, name), expected, "{name}");
    }
}

#[test]
fn all_fields_are_read() {
    let config = read(
        "
parallelism: 4
percentageOfNodesToScore: 30
podInitialBackoffSeconds: 2
podMaxBackoffSeconds: 20
delayCacheUntilActive: true
enableProfiling: false
leaderElection: {leaderElect: false, leaseDuration: 1m, renewDeadline: 30s, retryPeriod: 500ms, resourceName: mine, resourceNamespace: there}
clientConnection: {kubeconfig: /a, qps: 5.5, burst: 7, contentType: application/json, acceptContentTypes: application/json}
profiles:
- schedulerName: mine
  percentageOfNodesToScore: 70
  plugins:
    score: {enabled: [{name: Own, weight: 7}], disabled: [{name: ImageLocality}]}
  pluginConfig:
  - {name: Own, args: {any: [thing]}}
  - {name: DefaultPreemption, args: {apiVersion: kubescheduler.config.k8s.io/v1, kind: DefaultPreemptionArgs, minCandidateNodesPercentage: 50}}
  - name: NodeAffinity
    args: {addedAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: a, operator: In, values: [b]}]}]}}}
  - name: VolumeBinding
extenders:
- urlPrefix: https://127.0.0.1:1/x
  filterVerb: f
  prioritizeVerb: p
  preemptVerb: e
  bindVerb: b
  weight: 3
  enableHTTPS: true
  nodeCacheCapable: true
  ignorable: true
  httpTimeout: 2s
  managedResources: [{name: example.com/gpu, ignoredByScheduler: true}]
  tlsConfig: {insecure: true, serverName: s, caData: QUJD}
",
    );
    assert_eq!(
        (config.parallelism, config.percentage_of_nodes_to_score),
        (4, 30)
    );
    assert!(config.delay_cache_until_active && !config.enable_profiling);
    assert!(!config.leader_election.leader_elect);
    assert_eq!(config.leader_election.retry_period.as_millis(), 500);
    assert!((config.client_connection.qps - 5.5).abs() < 1e-9);
    assert_eq!(config.profiles[0].percentage_of_nodes_to_score, Some(70));
    assert_eq!(*args(&config, "Own"), json!({"any": ["thing"]}));
    let preemption = json!({"minCandidateNodesPercentage": 50, "minCandidateNodesAbsolute": 100});
    assert_eq!(*args(&config, "DefaultPreemption"), preemption);
    assert_eq!(
        *args(&config, "VolumeBinding"),
        json!({"bindTimeoutSeconds": 600})
    );
    let extender = &config.extenders[0];
    assert_eq!(extender.http_timeout.as_secs(), 2);
    assert_eq!(extender.tls_config.as_ref().unwrap().ca_data, b"ABC");
    assert!(extender.managed_resources[0].ignored_by_scheduler);
}

#[test]
fn wrong_documents() {
    for (text, expected) in [
        ("{}", "Object 'Kind' is missing in '{}'"),
        (
            "kind: KubeSchedulerConfiguration",
            "Object 'apiVersion' is missing in '{\"kind\":\"KubeSchedulerConfiguration\"}'",
        ),
        (
            "{apiVersion: kubescheduler.config.k8s.io/v1beta3, kind: KubeSchedulerConfiguration}",
            "no kind \"KubeSchedulerConfiguration\" is registered for version \"kubescheduler.config.k8s.io/v1beta3\"",
        ),
    ] {
        let error = KubeSchedulerConfiguration::parse(text).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
    let twice = KubeSchedulerConfiguration::parse(&format!("{HEAD}parallelism: 1\nparallelism: 2"));
    assert!(matches!(twice, Err(ConfigError::Syntax(_))), "{twice:?}");
}

#[test]
fn unknown_fields() {
    fails("foo: bar", "strict decoding error: unknown field \"foo\"");
    fails(
        "profiles: [{plugins: {bogus: {}, filter: {enabled: [{nme: x}]}}}]\nleaderElection: {a: 1}",
        "strict decoding error: unknown field \"leaderElection.a\", unknown field \"profiles[0].plugins.filter.enabled[0].nme\", \
         unknown field \"profiles[0].plugins.bogus\"",
    );
    fails(
        "profiles: [{pluginConfig: [{name: NodeResourcesFit, args: {scoringStrategy: {requestedToCapacityRatio: {shape: [{Score: 2, Utilization: 1}]}}}}]}]",
        "strict decoding error: decoding .profiles[0].pluginConfig[0]: strict decoding error: decoding args for plugin NodeResourcesFit: \
         strict decoding error: unknown field \"scoringStrategy.requestedToCapacityRatio.shape[0].Score\", \
         unknown field \"scoringStrategy.requestedToCapacityRatio.shape[0].Utilization\"",
    );
    fails(
        "profiles: [{pluginConfig: [{name: NodeAffinity, args: {addedAffinity: {required: {}}}}]}]",
        "strict decoding error: decoding .profiles[0].pluginConfig[0]: strict decoding error: decoding args for plugin NodeAffinity: \
         strict decoding error: unknown field \"addedAffinity.required\"",
    );
}

#[test]
fn wrong_values() {
    for (text, expected) in [
        (
            "parallelism: x",
            "parallelism: Invalid value: \"x\": must be an integer of 32 bits",
        ),
        (
            "parallelism: 0",
            "parallelism: Invalid value: 0: should be an integer value greater than zero",
        ),
        (
            "percentageOfNodesToScore: 101",
            "percentageOfNodesToScore: Invalid value: 101: not in valid range [0-100]",
        ),
        (
            "podInitialBackoffSeconds: 0",
            "podInitialBackoffSeconds: Invalid value: 0: must be greater than 0",
        ),
        (
            "podInitialBackoffSeconds: 5\npodMaxBackoffSeconds: 4",
            "podMaxBackoffSeconds: Invalid value: 4: must be greater than or equal to PodInitialBackoffSeconds",
        ),
        (
            "clientConnection: {burst: -1}",
            "clientConnection.burst: Invalid value: -1: must be non-negative",
        ),
        (
            "leaderElection: {leaseDuration: 10s}",
            "leaderElection.leaseDuration: Invalid value: \"10s\": must be greater than `RenewDeadline`",
        ),
        (
            "leaderElection: {resourceLock: endpoints}",
            "leaderElection.resourceLock: Invalid value: \"endpoints\": resourceLock value must be \"leases\"",
        ),
        (
            "leaderElection: {retryPeriod: 3}",
            "leaderElection.retryPeriod: Invalid value: 3: must be a duration such as 1m30s",
        ),
        (
            "profiles: [{}, {schedulerName: a}]",
            "profiles[0].schedulerName: Required value",
        ),
        (
            "profiles: [{schedulerName: a}, {schedulerName: a}]",
            "profiles[1].schedulerName: Duplicate value: \"profiles[0].schedulerName\"",
        ),
        (
            "profiles: [{schedulerName: a}, {schedulerName: b, plugins: {queueSort: {enabled: [{name: X}]}}}]",
            "profiles[1].plugins.queueSort: Invalid value: [\"X\"]: must be the same for all profiles",
        ),
        (
            "profiles: [{plugins: {score: {enabled: [{name: EBSLimits}]}}}]",
            "profiles[0].plugins.score.enabled[0]: Invalid value: \"EBSLimits\": was invalid in version \"v1\" \
             (KubeSchedulerConfiguration is version \"kubescheduler.config.k8s.io/v1\")",
        ),
        (
            "profiles: [{plugins: {filter: {enabled: [{name: a}, {name: a}]}}}]",
            "profiles[0].plugins.filter.enabled[1]: Invalid value: \"a\": plugin \"a\" already registered",
        ),
        (
            "profiles: [{pluginConfig: [{name: a}, {name: a}]}]",
            "profiles[0].pluginConfig[1]: Duplicate value: \"a\"",
        ),
        (
            "profiles: [{pluginConfig: [{name: DefaultPreemption, args: {kind: InterPodAffinityArgs}}]}]",
            "profiles[0].pluginConfig[0].args: Invalid value: {\"kind\":\"InterPodAffinityArgs\"}: args for plugin DefaultPreemption \
             were not of type DefaultPreemptionArgs.kubescheduler.config.k8s.io, got InterPodAffinityArgs.kubescheduler.config.k8s.io",
        ),
        (
            "extenders: [{urlPrefix: a, prioritizeVerb: p, weight: -2}]",
            "extenders[0].weight: Invalid value: -2: must have a positive weight applied to it",
        ),
        (
            "extenders: [{bindVerb: a}, {bindVerb: b}]",
            "extenders: Invalid value: \"found 2 extenders implementing bind\": only one extender can implement bind",
        ),
        (
            "extenders: [{managedResources: [{name: foo.com/bar}]}, {managedResources: [{name: foo.com/bar}]}]",
            "extenders[1].managedResources[0].name: Invalid value: \"foo.com/bar\": duplicate extender managed resource name",
        ),
        (
            "extenders: [{managedResources: [{name: kubernetes.io/foo}]}]",
            "extenders[0].managedResources[0].name: Invalid value: \"kubernetes.io/foo\": is an invalid extended resource name",
        ),
    ] {
        fails(text, expected);
    }
}

#[test]
fn wrong_arguments() {
    let at = |rest: &str| format!("profiles[0].pluginConfig[0].args.{rest}");
    for (plugin, args, expected) in [
        (
            "DefaultPreemption",
            "{minCandidateNodesPercentage: -1}",
            at("minCandidateNodesPercentage: Invalid value: -1: not in valid range [0, 100]"),
        ),
        (
            "DefaultPreemption",
            "{minCandidateNodesAbsolute: -1}",
            at("minCandidateNodesAbsolute: Invalid value: -1: not in valid range [0, inf)"),
        ),
        (
            "DefaultPreemption",
            "{minCandidateNodesAbsolute: many}",
            at("minCandidateNodesAbsolute: Invalid value: \"many\": must be an integer of 32 bits"),
        ),
        (
            "InterPodAffinity",
            "{hardPodAffinityWeight: 101}",
            at("hardPodAffinityWeight: Invalid value: 101: not in valid range [0, 100]"),
        ),
        (
            "NodeResourcesBalancedAllocation",
            "{resources: [{name: cpu, weight: 2}]}",
            at("resources[0].weight: Invalid value: 2: must be 1"),
        ),
        (
            "NodeResourcesBalancedAllocation",
            "{resources: [{name: cpu}, {name: cpu}]}",
            at("resources[1].name: Duplicate value: \"cpu\""),
        ),
        (
            "NodeResourcesFit",
            "{ignoredResourceGroups: [a.com/b]}",
            at(
                "ignoredResourceGroups[0]: Invalid value: \"a.com/b\": resource group name can't contain '/'",
            ),
        ),
        (
            "NodeResourcesFit",
            "{scoringStrategy: {type: Best}}",
            at(
                "scoringStrategy.type: Unsupported value: \"Best\": supported values: \"LeastAllocated\", \"MostAllocated\", \"RequestedToCapacityRatio\"",
            ),
        ),
        (
            "NodeResourcesFit",
            "{scoringStrategy: {type: MostAllocated, resources: [{name: cpu, weight: 101}]}}",
            at(
                "scoringStrategy.resources[0].weight: Invalid value: 101: resource weight of cpu not in valid range (0, 100]",
            ),
        ),
        (
            "NodeResourcesFit",
            "{scoringStrategy: {type: RequestedToCapacityRatio}}",
            at(
                "scoringStrategy.requestedToCapacityRatio: Required value: must be specified when type is RequestedToCapacityRatio",
            ),
        ),
        (
            "NodeResourcesFit",
            "{scoringStrategy: {type: MostAllocated, requestedToCapacityRatio: {shape: []}}}",
            at(
                "scoringStrategy.requestedToCapacityRatio: Forbidden: must be nil when type is not RequestedToCapacityRatio",
            ),
        ),
        (
            "NodeResourcesFit",
            "{scoringStrategy: {type: RequestedToCapacityRatio, requestedToCapacityRatio: {shape: [{utilization: 5, score: 1}, {utilization: 5, score: 1}]}}}",
            at(
                "scoringStrategy.requestedToCapacityRatio.shape[1].utilization: Invalid value: 5: values must be sorted in increasing order",
            ),
        ),
        (
            "NodeResourcesFit",
            "{scoringStrategy: {type: RequestedToCapacityRatio, requestedToCapacityRatio: {shape: [{utilization: 5, score: 11}]}}}",
            at(
                "scoringStrategy.requestedToCapacityRatio.shape[0].score: Invalid value: 11: not in valid range [0, 10]",
            ),
        ),
        (
            "PodTopologySpread",
            "{defaultConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: ScheduleAnyway}]}",
            at("defaultingType: Invalid value: \"System\": when .defaultConstraints are not empty"),
        ),
        (
            "PodTopologySpread",
            "{defaultingType: List, defaultConstraints: [{maxSkew: 0, topologyKey: zone, whenUnsatisfiable: ScheduleAnyway}]}",
            at("defaultConstraints[0].maxSkew: Invalid value: 0: not in valid range (0, inf)"),
        ),
        (
            "PodTopologySpread",
            "{defaultingType: List, defaultConstraints: [{maxSkew: 1, topologyKey: '', whenUnsatisfiable: ScheduleAnyway}]}",
            at("defaultConstraints[0].topologyKey: Required value: can not be empty"),
        ),
        (
            "PodTopologySpread",
            "{defaultingType: List, defaultConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: Never}]}",
            at(
                "defaultConstraints[0].whenUnsatisfiable: Unsupported value: \"Never\": supported values: \"DoNotSchedule\", \"ScheduleAnyway\"",
            ),
        ),
        (
            "PodTopologySpread",
            "{defaultingType: List, defaultConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule, labelSelector: {}}]}",
            at(
                "defaultConstraints[0].labelSelector: Forbidden: constraint must not define a selector, as they deduced for each pod",
            ),
        ),
        (
            "VolumeBinding",
            "{bindTimeoutSeconds: -1}",
            at(
                "bindTimeoutSeconds: Invalid value: -1: invalid BindTimeoutSeconds, should not be a negative value",
            ),
        ),
        (
            "NodeAffinity",
            "{addedAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: foo, operator: Is}]}]}}}",
            at(
                "addedAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].operator: \
                Unsupported value: \"Is\": supported values: \"In\", \"NotIn\", \"Exists\", \"DoesNotExist\", \"Gt\", \"Lt\"",
            ),
        ),
    ] {
        fails(
            &format!("profiles: [{{pluginConfig: [{{name: {plugin}, args: {args}}}]}}]"),
            &expected,
        );
    }
}

/// A plugin of a user, which filters and scores.
#[derive(Debug)]
struct Own(&'static str);

impl Plugin for Own {
    fn name(&self) -> &str {
        self.0
    }
}

impl Filter for Own {
    fn filter(&self, _: &CycleState, _: &PodInfo, _: &NodeInfo) -> Status {
        Status::success()
    }
}

impl Score for Own {
    fn score(&self, _: &CycleState, _: &PodInfo, _: &NodeInfo) -> i64 {
        0
    }
}

fn own(args: &Value, name: &'static str) -> Result<Hooks, ArgsError> {
    if let Some(level) = args.get("level").filter(|level| !level.is_i64()) {
        return Err(ArgsError::new("level", format!("{level} is no level")));
    }
    let own = Arc::new(Own(name));
    Ok(Hooks::new(&own).filter(&own).score(&own))
}

/// A manager of a cluster that answers nothing.
fn nowhere() -> Manager {
    let service = tower::service_fn(|_: http::Request<kube::client::Body>| async {
        Err::<http::Response<kube::client::Body>, tower::BoxError>("there is no server".into())
    });
    Manager::new(kube::Client::new(service, "default"), Clock::seeded(1))
}

/// The first profile of a document, made.
fn built(text: &str) -> Result<Framework, String> {
    let config = read(text);
    let registry = Registry::in_tree()
        .with("Own", |args, _| own(args, "Own"))
        .with("Other", |args, _| own(args, "Other"));
    let handle = Handle::new(&nowhere(), "test");
    let resolved = config
        .resolve(&registry)
        .map_err(|error| error.to_string())?;
    let profile = resolved.profiles().first().unwrap();
    profile.build(&registry, &handle).map_err(|error| {
        let error = crate::scheduler::Error::Profile { index: 0, error };
        config.locate(&error).to_string()
    })
}

#[tokio::test]
async fn profiles() {
    let defaults = "TaintToleration 3, NodeAffinity 2, NodeResourcesFit 1";
    let only = "multiPoint: {disabled: [{name: '*'}], \
                enabled: [{name: PrioritySort}, {name: DefaultBinder}, {name: Own}, {name: Other, weight: 4}]}";
    for (plugins, expected) in [
        (String::new(), defaults),
        (only.to_owned(), "Own 1, Other 4"),
        // Disabled at one point.
        (format!("{only}, score: {{disabled: [{{name: Own}}]}}"), "Other 4"),
        (
            format!("{only}, score: {{disabled: [{{name: '*'}}], enabled: [{{name: Own}}]}}"),
            "Own 1",
        ),
        // Configured again: in front; further ones: behind.
        (
            format!("{only}, score: {{enabled: [{{name: ImageLocality, weight: 9}}, {{name: Other, weight: 5}}]}}"),
            "Other 5, Own 1, ImageLocality 9",
        ),
        // A default that is configured again keeps its place.
        (
            "multiPoint: {disabled: [{name: TaintToleration}], enabled: [{name: Own, weight: 2}, {name: NodeAffinity, weight: 8}]}"
                .to_owned(),
            "NodeAffinity 8, NodeResourcesFit 1",
        ),
    ] {
        let framework = built(&format!("profiles: [{{plugins: {{{plugins}}}}}]")).unwrap();
        let scores = framework.score.iter();
        let scores: Vec<_> = scores
            .map(|(plugin, weight)| format!("{} {weight}", plugin.name()))
            .collect();
        let scores = scores.join(", ");
        assert!(scores.starts_with(expected), "{plugins}: {scores}");
    }
    let last = "profiles: [{plugins: {multiPoint: {enabled: [{name: Own, weight: 2}]}}}]";
    let framework = built(last).unwrap();
    let last = framework
        .score
        .last()
        .map(|(plugin, weight)| (plugin.name().to_owned(), *weight));
    assert_eq!(last, Some(("Own".to_owned(), 2)));
    assert_eq!(framework.filter.last().unwrap().name(), "Own");
}

#[tokio::test]
async fn wrong_plugins() {
    let at = |rest: &str| format!("profiles[0].plugins.{rest}");
    for (plugins, expected) in [
        (
            "filter: {enabled: [{name: Nobody}]}",
            at(
                "filter.enabled[0]: Invalid value: \"Nobody\": FilterPlugin \"Nobody\" does not exist",
            ),
        ),
        (
            "multiPoint: {enabled: [{name: Nobody}], disabled: [{name: '*'}]}",
            at(
                "multiPoint.enabled[0]: Invalid value: \"Nobody\": plugin \"Nobody\" does not exist",
            ),
        ),
        (
            "filter: {enabled: [{name: Own}, {name: ImageLocality}]}",
            at(
                "filter.enabled[1]: Invalid value: \"ImageLocality\": plugin \"ImageLocality\" does not extend FilterPlugin plugin",
            ),
        ),
        (
            "queueSort: {disabled: [{name: '*'}]}",
            "profiles[0].plugins: profile \"default-scheduler\": no queue sort plugin is enabled"
                .to_owned(),
        ),
    ] {
        let error = built(&format!("profiles: [{{plugins: {{{plugins}}}}}]")).unwrap_err();
        assert_eq!(error, expected);
    }
    let error = built(
        "profiles: [{plugins: {multiPoint: {enabled: [{name: Own}]}}, pluginConfig: [{name: Own, args: {level: x}}]}]",
    );
    assert_eq!(
        error.unwrap_err(),
        "profiles[0].pluginConfig[0].args.level: initializing plugin \"Own\": \"x\" is no level"
    );
}

#[tokio::test]
async fn plugins_understand_their_arguments() {
    for args in [
        "DefaultPreemption, args: {minCandidateNodesPercentage: 50}",
        "InterPodAffinity, args: {hardPodAffinityWeight: 5, ignorePreferredTermsOfExistingPods: true}",
        "NodeAffinity, args: {addedAffinity: {requiredDuringSchedulingIgnoredDuringExecution: \
         {nodeSelectorTerms: [{matchExpressions: [{key: a, operator: In, values: [b]}]}]}}}",
        "NodeResourcesBalancedAllocation, args: {resources: [{name: cpu}, {name: example.com/gpu}]}",
        "NodeResourcesFit, args: {ignoredResources: [example.com/gpu], scoringStrategy: {type: MostAllocated}}",
        "NodeResourcesFit, args: {scoringStrategy: {type: RequestedToCapacityRatio, requestedToCapacityRatio: \
         {shape: [{utilization: 0, score: 0}, {utilization: 100, score: 10}]}}}",
        "PodTopologySpread, args: {defaultingType: List, defaultConstraints: \
         [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: ScheduleAnyway}]}",
        "VolumeBinding, args: {bindTimeoutSeconds: 300}",
    ] {
        let made = built(&format!("profiles: [{{pluginConfig: [{{name: {args}}}]}}]"));
        assert!(made.is_ok(), "{args}: {made:?}");
    }
}
