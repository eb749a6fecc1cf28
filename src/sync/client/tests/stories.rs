//! What a sync does, and what it leaves alone.

use serde_json::json;

use super::server::{Action, Server};
use super::{
    CONFIG, DEPLOYMENT, INVENTORY_PATH, ROLLOUT, ROUTE, ROUTE_PATH, SECRET, input, owner, read, rules_for_everything, weights,
};
use crate::sync::client::{Cluster, SyncError, SyncOutcome};
use crate::sync::inventory::{Inventory, Kept, PruneRules};

async fn sync(cluster: &Cluster, texts: &[&str]) -> SyncOutcome {
    cluster.sync_once(read(cluster, texts).await).await.unwrap()
}

fn names<'o>(ids: impl IntoIterator<Item = &'o crate::manifest::ObjectId>) -> Vec<String> {
    ids.into_iter().map(ToString::to_string).collect()
}

const APPLY_INVENTORY: &str = "self apply /api/v1/namespaces/shop/configmaps/web-inventory";

/// Protects: order, identity, inventory before and after, silence when nothing changed, and pruning by uid: these
/// requests and nothing else was written.
#[tokio::test]
async fn from_nothing_to_something_to_less() {
    let server = Server::new();
    let cluster = Cluster::new(server.client());
    let outcome = sync(&cluster, &[DEPLOYMENT, SECRET, CONFIG]).await;
    assert_eq!(
        server.writes(),
        [
            APPLY_INVENTORY,
            "shop/deployer apply /api/v1/namespaces/shop/configmaps/a",
            "shop/deployer apply /api/v1/namespaces/shop/secrets/db",
            "shop/deployer apply /apis/apps/v1/namespaces/shop/deployments/web",
            APPLY_INVENTORY,
        ]
    );
    assert_eq!(names(&outcome.applied), ["ConfigMap shop/a", "Secret shop/db", "Deployment.apps shop/web"]);
    let live = server.state().objects["/api/v1/namespaces/shop/configmaps/a"].clone();
    let uid = live["metadata"]["uid"].as_str().unwrap().to_owned();
    assert_eq!(live["metadata"]["labels"], json!({"tidegate.dev/owned-by": "shop.web"}));
    assert_eq!(live["metadata"]["annotations"], json!({"tidegate.dev/owner-uid": "app-1"}));
    assert_eq!(server.state().objects[INVENTORY_PATH]["data"]["ConfigMap.v1"], format!("shop/a {uid}\n"));
    assert_eq!(outcome.inventory, cluster.read_inventory(&owner()).await.unwrap());

    let again = sync(&cluster, &[DEPLOYMENT, SECRET, CONFIG]).await;
    assert_eq!(server.writes(), [""; 0]);
    assert_eq!(again, SyncOutcome { applied: vec![], ..outcome });

    let less = sync(&cluster, &[DEPLOYMENT]).await;
    assert_eq!(
        server.writes(),
        [
            "shop/deployer delete /api/v1/namespaces/shop/secrets/db",
            "shop/deployer delete /api/v1/namespaces/shop/configmaps/a",
            APPLY_INVENTORY,
        ]
    );
    assert_eq!(names(&less.pruned), ["Secret shop/db", "ConfigMap shop/a"]);
    let left: Vec<String> = server.state().objects.keys().cloned().collect();
    assert_eq!(left, ["/api/v1/namespaces/shop", INVENTORY_PATH, "/apis/apps/v1/namespaces/shop/deployments/web"]);
}

/// Protects: only what differs is written; a change by somebody else to a field of Git's goes back.
#[tokio::test]
async fn only_what_differs() {
    let server = Server::new();
    let cluster = Cluster::new(server.client());
    sync(&cluster, &[DEPLOYMENT, CONFIG]).await;
    server.writes();
    server.state().edit("/api/v1/namespaces/shop/configmaps/a", |live| live["data"]["k"] = "edited".into());
    server.state().edit("/apis/apps/v1/namespaces/shop/deployments/web", |live| live["status"] = json!({"replicas": 2}));
    let outcome = sync(&cluster, &[DEPLOYMENT, CONFIG]).await;
    assert_eq!(server.writes(), ["shop/deployer apply /api/v1/namespaces/shop/configmaps/a"]);
    assert_eq!(names(&outcome.applied), ["ConfigMap shop/a"]);
    assert_eq!(server.state().objects["/api/v1/namespaces/shop/configmaps/a"]["data"], json!({"k": "v"}));
}

/// Protects: a sync that stands between its read and its apply while an abort happens does not write the old weight
/// back: 409, read again, weight 0; and Git's own change arrives all the same.
#[tokio::test]
async fn an_abort_between_read_and_apply() {
    let server = Server::new();
    let cluster = Cluster::new(server.client());
    let rollout = ROLLOUT.replace("IMAGE", "web:1");
    sync(&cluster, &[&rollout, &ROUTE.replace("HOST", "a.example.com")]).await;
    let set = |canary: i64| {
        move |live: &mut serde_json::Value| {
            live["spec"]["rules"][0]["backendRefs"][0]["weight"] = (100 - canary).into();
            live["spec"]["rules"][0]["backendRefs"][1]["weight"] = canary.into();
        }
    };
    server.state().edit(ROUTE_PATH, set(10));
    server.log();
    // An unchanged tree while the canary is in flight: nothing to write.
    sync(&cluster, &[&rollout, &ROUTE.replace("HOST", "a.example.com")]).await;
    assert_eq!(server.writes(), [""; 0]);

    let apply = format!("shop/deployer apply {ROUTE_PATH}");
    server.fault(&apply, Action::Before(Box::new(move |state| state.edit(ROUTE_PATH, set(0)))));
    sync(&cluster, &[&rollout, &ROUTE.replace("HOST", "b.example.com")]).await;
    let requests: Vec<String> = server.log().into_iter().filter(|line| line.ends_with(ROUTE_PATH)).collect();
    let verbs: Vec<&str> = requests.iter().map(|line| line.split(' ').nth(1).unwrap()).collect();
    assert_eq!(verbs, ["get", "try", "get", "apply", "get", "apply"]);
    let live = server.state().objects[ROUTE_PATH].clone();
    assert_eq!((weights(&live), &live["spec"]["hostnames"]), (json!([100, 0]), &json!(["b.example.com"])));
}

/// Protects: an object that keeps changing ends the sync, not in an endless loop and not in a blind write.
#[tokio::test]
async fn a_route_that_never_stands_still() {
    let server = Server::new();
    let cluster = Cluster::new(server.client());
    let rollout = ROLLOUT.replace("IMAGE", "web:1");
    sync(&cluster, &[&rollout, &ROUTE.replace("HOST", "a.example.com")]).await;
    for _ in 0..5 {
        let touch = |state: &mut super::server::State| state.edit(ROUTE_PATH, |_| {});
        server.fault(&format!("shop/deployer apply {ROUTE_PATH}"), Action::Before(Box::new(touch)));
    }
    let input = read(&cluster, &[&rollout, &ROUTE.replace("HOST", "b.example.com")]).await;
    let error = cluster.sync_once(input).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "stopped after 0 objects were applied: 1.yaml:1: failed to apply HTTPRoute.gateway.networking.k8s.io shop/web as service account shop/deployer: it keeps changing; it will be tried again"
    );
    assert_eq!(server.state().objects[ROUTE_PATH]["spec"]["hostnames"], json!(["a.example.com"]));
}

/// Protects: the commit on a Rollout moves with its template only: an unrelated commit writes nothing.
#[tokio::test]
async fn the_commit_of_a_rollout() {
    let server = Server::new();
    let cluster = Cluster::new(server.client());
    let annotations =
        || server.state().objects["/apis/tidegate.dev/v1alpha1/namespaces/shop/rollouts/web"]["metadata"]["annotations"].clone();
    let run = async |image: &str, commit: &str, retry: Option<&str>| {
        let mut input = read(&cluster, &[&ROLLOUT.replace("IMAGE", image)]).await;
        (input.commit, input.retry) = (commit.repeat(40), retry.map(str::to_owned));
        let outcome = cluster.sync_once(input).await.unwrap();
        outcome.applied.len()
    };
    let with = |commit: &str| json!({"tidegate.dev/owner-uid": "app-1", "tidegate.dev/commit": commit.repeat(40)});
    assert_eq!((run("1", "a", None).await, annotations()), (1, with("a")));
    assert_eq!((run("1", "b", None).await, annotations()), (0, with("a")));
    assert_eq!((run("2", "c", None).await, annotations()), (1, with("c")));
    let mut retried = with("c");
    retried["tidegate.dev/retry"] = "d".into();
    assert_eq!((run("2", "e", Some("d")).await, annotations()), (1, retried.clone()));
    assert_eq!((run("2", "f", None).await, annotations()), (0, retried));
}

/// Protects: a namespace and a kind may come with the objects that need them.
#[tokio::test]
async fn a_namespace_and_a_kind_of_the_same_sync() {
    let server = Server::new();
    let cluster = Cluster::new(server.client());
    let definition = "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: things.acme.dev}\nspec: {group: acme.dev, scope: Namespaced, names: {kind: Thing, plural: things}, versions: [{name: v1}]}\n";
    let thing = "apiVersion: acme.dev/v1\nkind: Thing\nmetadata: {name: t}\n";
    let namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: new}\n";
    let inside = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, namespace: new}\n";
    let texts = [thing, inside, definition, namespace];
    let mut first = read(&cluster, &texts).await;
    first.rules = rules_for_everything();
    let outcome = cluster.sync_once(first).await.unwrap();
    let log = server.log();
    let tried: Vec<&String> = log.iter().filter(|line| line.contains(" try ")).collect();
    assert_eq!(
        tried,
        [
            "shop/deployer try /api/v1/namespaces/new",
            "shop/deployer try /apis/apiextensions.k8s.io/v1/customresourcedefinitions/things.acme.dev"
        ]
    );
    let applied: Vec<&String> = log.iter().filter(|line| line.contains("deployer apply")).collect();
    assert_eq!(
        applied,
        [
            "shop/deployer apply /api/v1/namespaces/new",
            "shop/deployer apply /apis/apiextensions.k8s.io/v1/customresourcedefinitions/things.acme.dev",
            "shop/deployer apply /api/v1/namespaces/new/configmaps/c",
            "shop/deployer apply /apis/acme.dev/v1/namespaces/shop/things/t",
        ]
    );
    assert_eq!(names(&outcome.without_dry_run), ["ConfigMap new/c", "Thing.acme.dev shop/t"]);
    let mut second = read(&cluster, &texts).await;
    second.rules = rules_for_everything();
    let outcome = cluster.sync_once(second).await.unwrap();
    assert_eq!((server.writes(), names(&outcome.without_dry_run)), (vec![], vec![]));
}

/// Protects: a crash between apply and record loses nothing: ids are recorded before, and the next sync ends in the
/// same state as one without the crash.
#[tokio::test]
async fn stopped_half_way_and_taken_up_again() {
    let server = Server::new();
    let cluster = Cluster::new(server.client());
    server.fault("shop/deployer apply /api/v1/namespaces/shop/secrets/db", Action::Answer(503, "upstream".to_owned()));
    let input = read(&cluster, &[DEPLOYMENT, SECRET, CONFIG]).await;
    let error = cluster.sync_once(input).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "stopped after 1 objects were applied: 1.yaml:1: failed to apply Secret shop/db as service account shop/deployer: the API server answered 503: what the API server says is not shown, because it may quote the Secret"
    );
    let SyncError::Stopped { applied, .. } = error else { panic!() };
    assert_eq!(names(&applied), ["ConfigMap shop/a"]);
    let recorded = server.state().objects[INVENTORY_PATH]["data"].clone();
    assert_eq!(recorded, json!({"ConfigMap.v1": "shop/a -\n", "Secret.v1": "shop/db -\n", "Deployment.v1.apps": "shop/web -\n"}));
    server.writes();
    // What the crashed sync applied has left Git: it is pruned, though its uid was never recorded.
    let outcome = sync(&cluster, &[DEPLOYMENT, SECRET]).await;
    assert_eq!(names(&outcome.applied), ["Secret shop/db", "Deployment.apps shop/web"]);
    assert_eq!(names(&outcome.pruned), ["ConfigMap shop/a"]);
    let clean = Server::new();
    let expected = sync(&Cluster::new(clean.client()), &[DEPLOYMENT, SECRET]).await;
    assert_eq!(names(outcome.inventory.entries.iter().map(|e| &e.id)), names(expected.inventory.entries.iter().map(|e| &e.id)));
    assert_eq!(server.state().objects.keys().collect::<Vec<_>>(), clean.state().objects.keys().collect::<Vec<_>>());
}

/// Protects: nothing is deleted that is not certainly ours, and data outlives our own revert for ever.
#[tokio::test]
async fn what_is_not_pruned() {
    let server = Server::new();
    let cluster = Cluster::new(server.client());
    let claim = "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: data}\n";
    let guarded = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: guarded, annotations: {tidegate.dev/prune: disabled}}\n";
    let handed_over = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: handed-over}\n";
    let re_created = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: re-created}\n";
    sync(&cluster, &[CONFIG, claim, guarded, handed_over, re_created]).await;
    let path = |name: &str| format!("/api/v1/namespaces/shop/configmaps/{name}");
    server.state().edit(&path("handed-over"), |live| live["metadata"]["labels"] = json!({"tidegate.dev/owned-by": "shop.api"}));
    server.state().edit(&path("re-created"), |live| live["metadata"]["uid"] = "another".into());
    server.writes();
    let mut revert = read(&cluster, &[CONFIG]).await;
    revert.prune = PruneRules { enabled: true, own_revert: true };
    let outcome = cluster.sync_once(revert).await.unwrap();
    assert_eq!(server.writes(), [APPLY_INVENTORY]);
    let mut kept: Vec<(String, Kept)> = outcome.kept.iter().map(|(id, why)| (id.to_string(), *why)).collect();
    kept.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(
        kept,
        [
            ("ConfigMap shop/guarded".to_owned(), Kept::PruneDisabled),
            ("ConfigMap shop/handed-over".to_owned(), Kept::NotOurs),
            ("ConfigMap shop/re-created".to_owned(), Kept::NotOurs),
            ("PersistentVolumeClaim shop/data".to_owned(), Kept::PruneNeedsConfirmation),
        ]
    );
    // A later commit of a person does not lift it; only deleting the claim by hand ends the matter.
    let later = sync(&cluster, &[CONFIG]).await;
    assert_eq!((server.writes(), names(&later.pruned)), (vec![], vec![]));
    server.state().objects.remove("/api/v1/namespaces/shop/persistentvolumeclaims/data");
    let last = sync(&cluster, &[CONFIG]).await;
    assert_eq!(server.writes(), [APPLY_INVENTORY]);
    assert_eq!(names(last.inventory.entries.iter().map(|e| &e.id)), ["ConfigMap shop/a", "ConfigMap shop/guarded"]);
}

/// Protects: an object that is exchanged between our look and our delete is not deleted.
#[tokio::test]
async fn deleted_by_uid() {
    let server = Server::new();
    let cluster = Cluster::new(server.client());
    sync(&cluster, &[CONFIG, DEPLOYMENT]).await;
    let path = "/api/v1/namespaces/shop/configmaps/a";
    let exchange = move |state: &mut super::server::State| state.edit(path, |live| live["metadata"]["uid"] = "another".into());
    server.fault(&format!("shop/deployer delete {path}"), Action::Before(Box::new(exchange)));
    let outcome = sync(&cluster, &[DEPLOYMENT]).await;
    assert_eq!((names(&outcome.pruned), outcome.kept[0].1), (vec![], Kept::NotOurs));
    assert!(server.state().objects.contains_key(path));
}

/// Protects: two controllers do not write one inventory over the other: the slower one stops before it applies.
#[tokio::test]
async fn an_inventory_that_somebody_else_wrote() {
    let server = Server::new();
    let cluster = Cluster::new(server.client());
    sync(&cluster, &[CONFIG]).await;
    let stale = read(&cluster, &[CONFIG, DEPLOYMENT]).await;
    sync(&cluster, &[CONFIG, SECRET]).await;
    let before = server.state().objects.clone();
    let error = cluster.sync_once(stale).await.unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("stopped after 0 objects were applied: failed to apply ConfigMap shop/web-inventory: it keeps changing"),
        "{error}"
    );
    assert_eq!(server.state().objects, before);
}

/// Protects: an empty path never wipes an application, unless that is asked for.
#[tokio::test]
async fn an_empty_path() {
    let server = Server::new();
    let cluster = Cluster::new(server.client());
    sync(&cluster, &[CONFIG]).await;
    server.log();
    let error = cluster.sync_once(input(vec![], cluster.read_inventory(&owner()).await.unwrap())).await.unwrap_err();
    assert!(matches!(error, SyncError::Empty), "{error}");
    assert_eq!(server.writes(), [""; 0]);
    let mut wanted = read(&cluster, &[]).await;
    wanted.allow_empty = true;
    let outcome = cluster.sync_once(wanted).await.unwrap();
    assert_eq!(
        (names(&outcome.pruned), outcome.inventory.entries),
        (vec!["ConfigMap shop/a".to_owned()], Inventory::default().entries)
    );
}
