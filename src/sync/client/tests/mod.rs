//! Whole syncs against a small API server, by the exact requests that were made.

mod refusals;
mod server;
mod stories;

use serde_json::{Value, json};

use super::{Cluster, ServiceAccount, SyncInput};
use crate::manifest::{File, Object, parse};
use crate::sync::inventory::{Inventory, PruneRules};
use crate::sync::own::Owner;
use crate::sync::project::Rules;

fn files(texts: &[&str]) -> Vec<Object> {
    let file = |(index, text): (usize, &&str)| File { path: format!("{index}.yaml"), bytes: text.as_bytes().to_vec() };
    parse(&texts.iter().enumerate().map(file).collect::<Vec<_>>()).unwrap()
}

fn owner() -> Owner {
    Owner { namespace: "shop".to_owned(), name: "web".to_owned(), uid: "app-1".to_owned() }
}

fn input(objects: Vec<Object>, inventory: Inventory) -> SyncInput {
    SyncInput {
        objects,
        owner: owner(),
        account: ServiceAccount::new("shop", "deployer").unwrap(),
        namespace: "shop".to_owned(),
        repo_url: "https://git.example.com/acme/deploy.git".to_owned(),
        rules: Rules::OwnNamespace,
        inventory,
        commit: "a".repeat(40),
        retry: None,
        prune: PruneRules { enabled: true, own_revert: false },
        allow_empty: false,
    }
}

/// An input with the inventory that the cluster holds.
async fn read(cluster: &Cluster, texts: &[&str]) -> SyncInput {
    input(files(texts), cluster.read_inventory(&owner()).await.unwrap())
}

fn rules_for_everything() -> Rules {
    use crate::api::project::{AllowedDestination, GroupKind, ProjectSpec};
    let any = "*".to_owned();
    let spec = ProjectSpec {
        application_namespaces: vec![any.clone()],
        source_repos: vec![any.clone()],
        destinations: vec![AllowedDestination { namespace: any.clone() }],
        allowed_kinds: vec![GroupKind { group: any.clone(), kind: any }],
        ..ProjectSpec::default()
    };
    Rules::Project { name: "all".to_owned(), spec }
}

const CONFIG: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {k: v}\n";
const SECRET: &str = "apiVersion: v1\nkind: Secret\nmetadata: {name: db}\nstringData: {password: hunter2}\n";
const DEPLOYMENT: &str = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {replicas: 2}\n";
const ROUTE: &str = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: web}\nspec: {hostnames: [HOST], rules: [{backendRefs: [{name: stable, weight: 100}, {name: canary, weight: 0}]}]}\n";
const ROLLOUT: &str = "apiVersion: tidegate.dev/v1alpha1\nkind: Rollout\nmetadata: {name: web}\nspec: {replicas: 2, template: {image: IMAGE}, strategy: {canary: {stableService: stable, canaryService: canary, trafficRouting: {gatewayAPI: {httpRoutes: [{name: web}]}}}}}\n";

const ROUTE_PATH: &str = "/apis/gateway.networking.k8s.io/v1/namespaces/shop/httproutes/web";
const INVENTORY_PATH: &str = "/api/v1/namespaces/shop/configmaps/web-inventory";

fn weights(route: &Value) -> Value {
    json!([route["spec"]["rules"][0]["backendRefs"][0]["weight"], route["spec"]["rules"][0]["backendRefs"][1]["weight"]])
}
