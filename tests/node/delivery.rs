//! From a commit to its revert on a real Git server, while the controller dies and the server is away.

use std::panic::{AssertUnwindSafe, resume_unwind};
use std::time::Duration;

use futures::FutureExt;
use kube::api::Api;
use serde_json::json;
use tidegate::api::application::{Application, WriteBackPhase, WriteBackState};

use crate::forge::Forge;
use crate::shop::{Shop, story_in, within};

/// Where the Rollout is in the repository.
const FILE: &str = "apps/web/rollout.yaml";

/// Opens a shop whose Rollout comes from Git, tells the story, and clears everything away.
async fn delivered(name: &str, tell: impl AsyncFnOnce(&Shop, &Forge)) {
    story_in(name, async |shop: &Shop| {
        let forge = Forge::create(&shop.namespace).await;
        let result = AssertUnwindSafe(async {
            deliver(shop, &forge).await;
            tell(shop, &forge).await;
        })
        .catch_unwind()
        .await;
        forge.remove().await;
        if let Err(panic) = result {
            resume_unwind(panic);
        }
    })
    .await;
}

/// Version 1 from Git, and all that it needs.
async fn deliver(shop: &Shop, forge: &Forge) {
    shop.found(true).await;
    shop.watch_success_rate().await;
    let metadata = |name: &str| json!({"name": name, "namespace": shop.namespace});
    let role = "rbac.authorization.k8s.io/v1";
    for object in [
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata("deploy"), "stringData": forge.credential()}),
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata("deployer")}),
        json!({"apiVersion": role, "kind": "Role", "metadata": metadata("deployer"), "rules": [
            {"apiGroups": ["tidegate.dev"], "resources": ["rollouts"], "verbs": ["get", "create", "patch", "delete"]}]}),
        json!({"apiVersion": role, "kind": "RoleBinding", "metadata": metadata("deployer"),
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "deployer"},
            "subjects": [{"kind": "ServiceAccount", "name": "deployer", "namespace": shop.namespace}]}),
    ] {
        shop.apply(&object).await;
    }
    forge.push(FILE, &release(shop, "1", "0"), "Release 1");
    shop.apply(&json!({
        "apiVersion": "tidegate.dev/v1alpha1", "kind": "Application", "metadata": metadata("shop"),
        "spec": {
            "source": {"repoURL": forge.address(), "revision": {"branch": "main"}, "path": "apps/web", "interval": "1s",
                "secretRef": {"name": "deploy"}},
            "destination": {"namespace": shop.namespace, "serviceAccountName": "deployer"},
            "syncPolicy": {"automated": {"prune": true}},
            "writeBack": {"mode": "Push", "secretRef": {"name": "deploy"}, "author": {"name": "Tidegate", "email": "tidegate@example.com"}}}}))
        .await;
    shop.opened().await;
}

/// The Rollout's file, as a release leaves it.
fn release(shop: &Shop, version: &str, error_rate: &str) -> String {
    let mut rollout = shop.rollout();
    rollout["metadata"] = json!({"name": "web"});
    rollout["spec"]["template"]["spec"]["containers"][0]["env"] =
        json!([{"name": "VERSION", "value": version}, {"name": "ERROR_RATE", "value": error_rate}]);
    rollout["spec"]["strategy"]["canary"]["analysis"] = json!({"templates": [{"templateName": "success-rate"}]});
    serde_json::to_string_pretty(&rollout).unwrap()
}

async fn write_backs(shop: &Shop) -> Vec<WriteBackState> {
    let applications: Api<Application> = Api::namespaced(shop.client.clone(), &shop.namespace);
    applications.get("shop").await.unwrap().status.unwrap_or_default().write_backs
}

/// Waits for a write-back like this.
async fn until(shop: &Shop, what: &str, is: impl Fn(&WriteBackState) -> bool) -> WriteBackState {
    within(what, Duration::from_millis(50), async || {
        let all = write_backs(shop).await;
        all.iter().find(|entry| is(entry)).cloned().ok_or_else(|| format!("the write-backs are {all:#?}"))
    })
    .await
}

/// Exactly one commit took the bad one back; the cluster has what Git has.
async fn taken_back(shop: &Shop, forge: &Forge, bad: &str, good: &str) {
    let done = |entry: &WriteBackState| entry.phase == WriteBackPhase::Done && entry.failed_commit.as_deref() == Some(bad);
    let entry = until(shop, &format!("{bad} is reverted"), done).await;
    shop.promoted().await;
    // A second one would come within an interval.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(forge.since(bad), [format!("{} Tidegate", entry.commit.unwrap())]);
    assert_eq!(forge.content(FILE), good);
    assert_eq!(shop.version(&[]).await.as_deref(), Some("1"));
}

/// Protects: one commit for one failure, and no request of stable's. The controller is killed right after the verdict,
/// then right after the push; then Git is away at the verdict. All are one Rollout's, as three failing at once would
/// be taken for a broken cluster.
#[tokio::test]
async fn one_revert_whatever_happens() {
    delivered("delivery", async |shop: &Shop, forge: &Forge| {
        let good = release(shop, "1", "0");
        let load = shop.load(40);

        let bad = forge.push(FILE, &release(shop, "2", "0.5"), "Release 2");
        shop.stopping().await;
        shop.kill_controller().await;
        taken_back(shop, forge, &bad, &good).await;

        let bad = forge.push(FILE, &release(shop, "3", "0.5"), "Release 3");
        within("a revert", Duration::from_millis(20), async || {
            if forge.tip().as_ref() == Some(&bad) { Err(format!("{bad} is the tip")) } else { Ok(()) }
        })
        .await;
        shop.kill_controller().await;
        taken_back(shop, forge, &bad, &good).await;

        let bad = forge.push(FILE, &release(shop, "4", "0.5"), "Release 4");
        shop.at_step(1, 20).await;
        forge.cut();
        // Traffic goes back without Git, at once.
        shop.stopped().await;
        // Which commit it was is looked up once there is a branch to look at.
        let waits = |entry: &WriteBackState| entry.phase == WriteBackPhase::Pending && entry.reason == "Unreachable";
        until(shop, "one waits for Git", waits).await;
        assert_eq!(forge.since(&bad), Vec::<String>::new());
        forge.mend();
        taken_back(shop, forge, &bad, &good).await;

        shop.pods(2).await;
        let answers = load.end();
        let lost: Vec<_> = answers
            .by
            .keys()
            .filter(|key| !key.ends_with("/200") && !["2/500", "3/500", "4/500"].contains(&key.as_str()))
            .collect();
        assert!(lost.is_empty(), "requests were lost by the machinery: {answers:?}");
        for version in ["2", "3", "4"] {
            assert!(answers.by.contains_key(&format!("{version}/500")), "{version} was never seen to fail: {answers:?}");
        }
    })
    .await;
}
