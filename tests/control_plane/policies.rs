//! The admission policies of `deploy/`: commands need their verbs, definitions stay.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use kube::{Client, CustomResourceExt};
use serde_json::{Value, json};
use tidegate::api::names::SYSTEM_NAMESPACE;
use tidegate::api::request::RolloutAction;
use tidegate::api::{self, Rollout};
use tidegate::cli::request;

use crate::{examples, support};

/// Done, or the refusal's code and sentence.
type Answer = Result<(), (u16, String)>;

fn command(id: &str, action: &str) -> Value {
    json!({"spec": {"request": {"id": id, "action": action}}})
}

/// Applies a merge patch as `client`; the refusal's code and sentence.
async fn merge(client: &Client, namespace: &str, patch: Value) -> Answer {
    let api = support::api_of(client, &examples::rollout(), Some(namespace));
    match api.patch("web", &PatchParams::default(), &Patch::Merge(patch)).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) => {
            let own = status.message.split("denied request: ").last().unwrap_or_default().to_owned();
            Err((status.code, own))
        }
        Err(error) => panic!("{error}"),
    }
}

fn lacks(user: &str, verb: &str, namespace: &str) -> Answer {
    let sentence = format!(
        "user '{user}' may not {verb} this Rollout: it needs the verb '{verb}' on rollouts.tidegate.dev in namespace '{namespace}' (ClusterRole tidegate-operator has it)"
    );
    Err((403, sentence))
}

/// Protects: who may edit Rollouts may not command them; each command needs its verb, also to withdraw it.
#[tokio::test]
async fn each_command_needs_its_verb() {
    let Some(admin) = support::cluster().await else { return };
    support::in_namespace(&admin, async |namespace| {
        support::create(&admin, Some(namespace), &examples::rollout(), false).await.unwrap();
        let rule = |verbs: Value| json!([{"apiGroups": ["tidegate.dev"], "resources": ["rollouts"], "verbs": verbs}]);
        support::allow(&admin, namespace, "bob", rule(json!(["get", "patch", "update", "promote"]))).await;
        let bob = support::as_user("bob").await;
        support::eventually("bob's role is followed", async || {
            merge(&bob, namespace, json!({"spec": {"replicas": 3}})).await.is_ok()
        })
        .await;

        let steps: [(&str, Value, Answer); 13] = [
            ("another field", json!({"spec": {"replicas": 5}}), Ok(())),
            ("abort", command("1", "abort"), lacks("bob", "abort", namespace)),
            ("retry", command("1", "retry"), lacks("bob", "retry", namespace)),
            ("pause", command("1", "pause"), lacks("bob", "pause", namespace)),
            ("resume", command("1", "resume"), lacks("bob", "resume", namespace)),
            ("undo", command("1", "undo"), lacks("bob", "undo", namespace)),
            ("restart", command("1", "restart"), lacks("bob", "restart", namespace)),
            ("promote", command("1", "promote"), Ok(())),
            ("the same again", command("1", "promote"), Ok(())),
            ("promoteFull", command("2", "promoteFull"), Ok(())),
            ("another id", command("3", "promoteFull"), Ok(())),
            ("promote becomes abort", command("3", "abort"), lacks("bob", "abort", namespace)),
            ("withdrawn", json!({"spec": {"request": null}}), Ok(())),
        ];
        for (name, patch, wanted) in steps {
            assert_eq!(merge(&bob, namespace, patch).await, wanted, "{name}");
        }
        // Somebody's abort: others' edits pass by it, and it is not withdrawn by who may not abort.
        assert_eq!(merge(&admin, namespace, command("4", "abort")).await, Ok(()));
        assert_eq!(merge(&bob, namespace, json!({"spec": {"replicas": 6}})).await, Ok(()));
        assert_eq!(merge(&bob, namespace, json!({"spec": {"request": null}})).await, lacks("bob", "abort", namespace));
    })
    .await;
}

/// Protects: sync applies a manifest without a request over a Rollout that has one, and needs no verb for it.
#[tokio::test]
async fn applying_from_git_leaves_the_request_alone() {
    let Some(admin) = support::cluster().await else { return };
    support::in_namespace(&admin, async |namespace| {
        let rule = json!([{"apiGroups": ["tidegate.dev"], "resources": ["rollouts"], "verbs": ["get", "create", "patch"]}]);
        support::allow(&admin, namespace, "deployer", rule).await;
        let deployer = support::as_user("deployer").await;
        let mut manifest = examples::rollout();
        manifest["metadata"]["namespace"] = json!(namespace);
        support::eventually("deployer's role is followed", async || support::apply(&deployer, &manifest, false).await.is_ok())
            .await;
        assert_eq!(merge(&admin, namespace, command("1", "abort")).await, Ok(()));
        manifest["spec"]["replicas"] = json!(7);
        let applied = support::apply(&deployer, &manifest, false).await.unwrap();
        assert_eq!((&applied.data["spec"]["replicas"], &applied.data["spec"]["request"]["id"]), (&json!(7), &json!("1")));
        // A request in Git would be carried out again and again: nobody may apply one without the verb.
        manifest["spec"]["request"] = json!({"id": "2", "action": "retry"});
        let status = support::refusal(support::apply(&deployer, &manifest, false).await);
        assert_eq!((status.code, status.message.contains("needs the verb 'retry'")), (403, true), "{}", status.message);
    })
    .await;
}

/// Protects: a Rollout is not born with a command that nobody saw the reason for.
#[tokio::test]
async fn no_command_at_creation() {
    let Some(admin) = support::cluster().await else { return };
    let mut rollout = examples::rollout();
    rollout["spec"]["request"] = json!({"id": "1", "action": "promote"});
    let status = support::refusal(support::create(&admin, Some(SYSTEM_NAMESPACE), &rollout, true).await);
    let sentence = "spec.request cannot be set when a Rollout is created: a command answers what a person saw. Leave it out; kubectl tidegate writes it.";
    assert!(status.message.ends_with(sentence), "{}", status.message);
}

/// Protects: the three roles for people are what they say.
#[tokio::test]
async fn roles_for_people() {
    let Some(admin) = support::cluster().await else { return };
    support::in_namespace(&admin, async |namespace| {
        support::create(&admin, Some(namespace), &examples::rollout(), false).await.unwrap();
        for role in ["viewer", "deployer", "operator"] {
            support::bind(&admin, namespace, role, "ClusterRole", &format!("tidegate-{role}")).await;
        }
        let clients = [support::as_user("viewer").await, support::as_user("deployer").await, support::as_user("operator").await];
        for client in &clients {
            let api = support::api_of(client, &examples::rollout(), Some(namespace));
            support::eventually("the role is followed", async || api.get("web").await.is_ok()).await;
        }
        let [viewer, deployer, operator] = clients;
        let edit = || json!({"spec": {"replicas": 2}});
        assert_eq!(merge(&viewer, namespace, edit()).await.unwrap_err().0, 403);
        assert_eq!(merge(&deployer, namespace, edit()).await, Ok(()));
        assert_eq!(merge(&deployer, namespace, command("1", "abort")).await, lacks("deployer", "abort", namespace));
        let all = ["promote", "promoteFull", "abort", "retry", "pause", "resume", "undo", "restart"];
        for (id, action) in all.into_iter().enumerate() {
            let id = &id.to_string();
            assert_eq!(merge(&operator, namespace, command(id, action)).await, Ok(()), "{action}");
        }
    })
    .await;
}

/// Protects: the plugin's write on a real API server: it passes on the state that was seen, and on no other.
#[tokio::test]
async fn the_plugins_patch_is_guarded() {
    let Some(admin) = support::cluster().await else { return };
    support::in_namespace(&admin, async |namespace| {
        let rollouts: Api<Rollout> = Api::namespaced(admin.clone(), namespace);
        support::create(&admin, Some(namespace), &examples::rollout(), false).await.unwrap();
        let write = async |seen: &Rollout, action, id: &str| {
            let wish = request::request(seen, action, id.to_owned());
            let patch = Patch::Json::<()>(request::patch(seen, &wish).unwrap());
            rollouts.patch("web", &PatchParams::default(), &patch).await.map(|rollout| rollout.spec.request.unwrap().id)
        };
        let fresh = rollouts.get("web").await.unwrap();
        assert_eq!(write(&fresh, RolloutAction::Promote, "first").await.unwrap(), "first");
        // Who saw no request loses to the first, and so does who saw another Rollout of this name.
        assert_eq!(support::refusal(write(&fresh, RolloutAction::Retry, "late").await).code, 422);
        let seen = rollouts.get("web").await.unwrap();
        let mut other = seen.clone();
        other.metadata.uid = Some("another".to_owned());
        assert_eq!(support::refusal(write(&other, RolloutAction::Abort, "late").await).code, 422);
        assert_eq!(write(&seen, RolloutAction::Abort, "second").await.unwrap(), "second");
        assert_eq!(support::refusal(write(&seen, RolloutAction::Retry, "late").await).code, 422);
        assert_eq!(rollouts.get("web").await.unwrap().spec.request.unwrap().id, "second");
    })
    .await;
}

/// Protects: production. A definition is deleted only after somebody said so; those of others are not touched by this.
#[tokio::test]
async fn definitions_stay_until_confirmed() {
    let Some(admin) = support::cluster().await else { return };
    let definitions: Api<CustomResourceDefinition> = Api::all(admin.clone());
    let dry = DeleteParams { dry_run: true, ..DeleteParams::default() };
    for crd in api::crds() {
        let name = crd.metadata.name.unwrap();
        let status = support::refusal(definitions.delete(&name, &dry).await);
        let sentence = format!(
            "deleting {name} would delete every object of this kind, and with Rollouts their pods. If that is meant, first: kubectl annotate crd {name} tidegate.dev/confirm-delete=yes"
        );
        assert!(status.code == 403 && status.message.ends_with(&sentence), "{name}: {}", status.message);
    }
    // Tried for real on definitions of this test's own.
    for (group, kept) in [("tidegate.dev", true), ("tests.example.com", false)] {
        let mut crd = serde_json::to_value(api::Project::crd()).unwrap();
        crd["metadata"] = json!({"name": format!("scratches.{group}")});
        crd["spec"]["group"] = json!(group);
        crd["spec"]["names"] = json!({"kind": "Scratch", "plural": "scratches", "singular": "scratch"});
        support::apply(&admin, &crd, false).await.unwrap();
        let name = format!("scratches.{group}");
        let delete = async || definitions.delete(&name, &DeleteParams::default()).await;
        if kept {
            assert_eq!(support::refusal(delete().await).code, 403);
            crd["metadata"]["annotations"] = json!({"tidegate.dev/confirm-delete": "yes"});
            support::apply(&admin, &crd, false).await.unwrap();
        }
        delete().await.unwrap();
    }
}
