//! No request reads or changes what its user may not: random roles that gather the rules of random others, bindings, users and
//! requests to a whole cluster, whose controller gathers while an evaluator as plain as can be says what is to come out.

mod generate;
mod reference;

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use homeostat::apiserver::{ApiServer, AuthorizationMode};
use homeostat::store::MemoryStore;
use homeostat::testing::Cluster;
use http_body_util::BodyExt as _;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Value, json};

use generate::{Ask, Change, Method, Step, Story};
use reference::{Gathering, Question, User, World, everything, gathers};

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
const GROUP: &str = "rbac.authorization.k8s.io";

/// How often aggregation decided.
#[derive(Debug, Default)]
struct Power {
    asked: Cell<u32>,
    allowed: Cell<u32>,
    /// Allowed by a rule that was gathered.
    by_gathered: Cell<u32>,
    /// Refused since what was to be granted had gathered more than the user has.
    gathered_too_much: Cell<u32>,
    /// Refused since a rule is gathered no more.
    withdrawn: Cell<u32>,
    /// Refused since only who has everything says what is gathered.
    not_everything: Cell<u32>,
}

fn count(counter: &Cell<u32>) {
    counter.set(counter.get() + 1);
}

/// What a request is to come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Passed,
    Forbidden,
}

#[test]
fn requests_read_and_change_what_their_users_may() {
    // The same stories in each run, that their power can be counted; `PROPTEST_CASES` asks for more.
    let cases = std::env::var("PROPTEST_CASES").ok();
    let cases = cases.map_or(12, |cases| cases.parse().unwrap());
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 200,
        ..Config::default()
    };
    let chance = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let power = Power::default();
    let result = TestRunner::new_with_rng(config, chance).run(&generate::story(), |story| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build();
        runtime.unwrap().block_on(tell(&story, &power));
        Ok(())
    });
    result.unwrap();
    for (what, counter) in [
        ("allowed by a gathered rule", &power.by_gathered),
        (
            "more was gathered than the user has",
            &power.gathered_too_much,
        ),
        ("gathered no more", &power.withdrawn),
        (
            "an aggregation rule needs everything",
            &power.not_everything,
        ),
    ] {
        assert!(counter.get() >= 5, "too seldom: {what}: {power:?}");
    }
}

/// Plays a story on a cluster of its own.
async fn tell(story: &Story, power: &Power) {
    let server = ApiServer::builder(Arc::new(MemoryStore::default()))
        .authorization([AuthorizationMode::Rbac]);
    let cluster = Cluster::builder()
        .seed(3)
        // There are no nodes that could fall silent.
        .quiet(Duration::from_secs(1))
        .with(|builder| builder.server(server))
        .start()
        .await
        .unwrap();
    let stage = Stage {
        admin: cluster.client(),
        cluster,
        power,
    };
    for (path, object) in story.objects() {
        stage.make(&path, &object).await;
    }
    stage.cluster.settle().await.unwrap();
    let mut world = stage.world().await;
    let mut by_gathered: Vec<(&User, &Ask)> = Vec::new();
    let mut number = 0;
    for step in &story.steps {
        let (asks, before) = match step {
            Step::Ask(who, ask) => (vec![(&story.users[*who], ask)], None),
            // What gathered rules allowed until now is asked again.
            Step::Change(change) => {
                stage.change(change).await;
                stage.cluster.settle().await.unwrap();
                let before = std::mem::replace(&mut world, stage.world().await);
                (std::mem::take(&mut by_gathered), Some(before))
            }
        };
        for (user, ask) in asks {
            number += 1;
            let decided = decided(&world, user, ask);
            if decided == (Outcome::Passed, true) {
                by_gathered.push((user, ask));
            }
            if stage
                .ask(user, ask, number, &world, decided, before.as_ref())
                .await
            {
                stage.cluster.settle().await.unwrap();
                world = stage.world().await;
            }
        }
    }
    stage.cluster.stop().await;
}

struct Stage<'a> {
    cluster: Cluster,
    admin: kube::Client,
    power: &'a Power,
}

impl Stage<'_> {
    /// Sends a request: the code and the text of the answer, of a watch none.
    async fn send(client: &kube::Client, method: &str, path: &str, body: &Value) -> (u16, String) {
        let media_type = match method {
            "PATCH" => "application/merge-patch+json",
            _ => "application/json",
        };
        let text = if body.is_null() {
            Vec::new()
        } else {
            body.to_string().into_bytes()
        };
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", media_type)
            .body(text.into())
            .unwrap();
        let (parts, body) = client.send(request).await.unwrap().into_parts();
        let code = parts.status.as_u16();
        if code == 200 && path.contains("watch=") {
            return (code, String::new());
        }
        let text = body.collect().await.unwrap().to_bytes();
        (code, String::from_utf8_lossy(&text).into_owned())
    }

    async fn make(&self, path: &str, object: &Value) {
        let (code, text) = Self::send(&self.admin, "POST", path, object).await;
        assert_eq!(code, 201, "{path} {object} {text}");
    }

    async fn list(&self, path: &str) -> Value {
        let (code, text) = Self::send(&self.admin, "GET", path, &Value::Null).await;
        assert_eq!(code, 200, "{path} {text}");
        serde_json::from_str(&text).unwrap()
    }

    /// Roles and bindings as they are now.
    async fn world(&self) -> World {
        let items = async |plural: &str| {
            let mut list = self.list(&format!("{RBAC}/{plural}")).await;
            let Value::Array(items) = list["items"].take() else {
                panic!("{list}");
            };
            items
        };
        let mut world = World {
            roles: items("roles").await,
            bindings: items("rolebindings").await,
        };
        world.roles.extend(items("clusterroles").await);
        world.bindings.extend(items("clusterrolebindings").await);
        world
    }

    /// The revision of the newest write.
    async fn revision(&self) -> String {
        let list = self.list("/api/v1/namespaces?limit=1").await;
        list["metadata"]["resourceVersion"].to_string()
    }

    async fn change(&self, change: &Change) {
        let (name, patch) = change.patch();
        let path = format!("{RBAC}/clusterroles/{name}");
        let (code, text) = Self::send(&self.admin, "PATCH", &path, &patch).await;
        assert!(code == 200 || code == 404, "{path} {text}");
    }

    /// Asks as `user`, and whether that wrote a role or binding.
    async fn ask(
        &self,
        user: &User,
        ask: &Ask,
        number: usize,
        world: &World,
        (expected, by_gathered): (Outcome, bool),
        before: Option<&World>,
    ) -> bool {
        let power = self.power;
        count(&power.asked);
        if expected == Outcome::Passed {
            count(&power.allowed);
        }
        match (expected, by_gathered) {
            (Outcome::Passed, true) => count(&power.by_gathered),
            (Outcome::Forbidden, true) => count(&power.gathered_too_much),
            _ => {}
        }
        if expected == Outcome::Forbidden
            && let Some(before) = before
            && decided(before, user, ask) == (Outcome::Passed, true)
        {
            count(&power.withdrawn);
        }
        if expected == Outcome::Forbidden
            && let Ask::Role { change, .. } = ask
            && gathers(change)
            && outcome(world, user, &ask.without_aggregation(), Gathering::Selected)
                == Outcome::Passed
        {
            count(&power.not_everything);
        }

        let context = || format!("step {number}: {user:?} {ask:?}");
        let revision = self.revision().await;
        if let Ask::Plain(question) = ask {
            let review = review(user, question);
            let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
            let (code, text) = Self::send(&self.admin, "POST", path, &review).await;
            assert_eq!(code, 201, "{text}");
            let answer: Value = serde_json::from_str(&text).unwrap();
            let allowed = answer["status"]["allowed"] == true;
            assert_eq!(allowed, expected == Outcome::Passed, "{} {text}", context());
        }
        let Some((method, path, body)) = ask.request(number) else {
            return false;
        };
        let client = self.cluster.server().client_of(user.name, &user.groups);
        let (code, text) = Self::send(&client, method, &path, &body).await;
        let context = || format!("{}\n{method} {path} {body}\n{code} {text}", context());
        assert!(code < 500, "{}", context());
        assert_eq!(code == 403, expected == Outcome::Forbidden, "{}", context());
        for namespace in generate::NAMESPACES {
            let is_elsewhere = path.contains("/namespaces/")
                && !path.contains(&format!("/namespaces/{namespace}/"));
            if code == 403 || is_elsewhere {
                let secret = generate::secret(namespace);
                assert!(!text.contains(&secret), "{}", context());
            }
        }
        let wrote = self.revision().await != revision;
        assert!(!wrote || expected == Outcome::Passed, "{}", context());
        wrote && path.starts_with(RBAC)
    }
}

fn review(user: &User, asked: &Question) -> Value {
    let (resource, subresource) = asked
        .resource
        .split_once('/')
        .unwrap_or((&asked.resource, ""));
    let mut groups = user.groups.clone();
    groups.push("system:authenticated");
    let mut spec = json!({"user": user.name, "groups": groups});
    if resource.is_empty() {
        spec["nonResourceAttributes"] = json!({"verb": asked.verb, "path": asked.path});
    } else {
        spec["resourceAttributes"] = json!({
            "verb": asked.verb, "group": asked.group, "resource": resource, "subresource": subresource,
            "namespace": asked.namespace, "name": asked.name,
        });
    }
    json!({"spec": spec})
}

/// What the documentation says of a request.
fn outcome(world: &World, user: &User, ask: &Ask, how: Gathering) -> Outcome {
    let forbidden = ask
        .questions(world)
        .iter()
        .any(|question| !world.allows(user, question, how))
        || match ask {
            Ask::Plain(_) => false,
            Ask::Role {
                method,
                namespace,
                name,
                change,
            } => grants_too_much(world, user, *method, namespace, name, change, how),
            Ask::Binding {
                namespace,
                kind,
                role,
            } => binds_too_much(world, user, namespace, kind, role, how),
        };
    if forbidden {
        Outcome::Forbidden
    } else {
        Outcome::Passed
    }
}

/// The outcome, and whether it would be another one without the rules that are gathered.
fn decided(world: &World, user: &User, ask: &Ask) -> (Outcome, bool) {
    let [found, otherwise] =
        [Gathering::Selected, Gathering::Nothing].map(|how| outcome(world, user, ask, how));
    (found, found != otherwise)
}

/// Whether who writes the role has neither its rules nor the right to escalate.
fn grants_too_much(
    world: &World,
    user: &User,
    method: Method,
    namespace: &str,
    name: &str,
    change: &Value,
    how: Gathering,
) -> bool {
    let old = world.role(namespace, name);
    if method == Method::Patch && old.is_none() {
        return false;
    }
    let escalate = Question {
        verb: "escalate".to_owned(),
        group: GROUP.to_owned(),
        resource: generate::plural("role", namespace),
        namespace: namespace.to_owned(),
        // That of the request's path: who creates has none there.
        name: name.to_owned(),
        ..Question::default()
    };
    if world.allows(user, &escalate, how) {
        return false;
    }
    let rules = match change.get("rules").and_then(Value::as_array) {
        Some(rules) => rules.clone(),
        None if method == Method::Patch => old.map_or_else(Vec::new, |old| world.rules(old, how)),
        None => Vec::new(),
    };
    world.exceeds(user, namespace, &rules, how)
        || ((gathers(change) || old.is_some_and(gathers))
            && world.exceeds(user, namespace, &everything(), how))
}

/// Whether who binds the role has neither its rules nor the right to bind it.
fn binds_too_much(
    world: &World,
    user: &User,
    namespace: &str,
    kind: &str,
    role: &str,
    how: Gathering,
) -> bool {
    let home = if kind == "Role" { namespace } else { "" };
    let bind = Question {
        verb: "bind".to_owned(),
        group: GROUP.to_owned(),
        resource: generate::plural("role", home),
        namespace: namespace.to_owned(),
        name: role.to_owned(),
        ..Question::default()
    };
    if world.allows(user, &bind, how) {
        return false;
    }
    // A role that is not there is not found.
    let role = world.role(home, role);
    role.is_some_and(|role| world.exceeds(user, namespace, &world.rules(role, how), how))
}
