//! The Application loop on a real API server and a real Git server: what is applied, as whom, and what is said when not.
#![expect(clippy::disallowed_methods, reason = "the audit log's place comes from the environment")]

use std::fs;

use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use tidegate::controller::application;
use tidegate::controller::flags::WriteBackFlag;

use crate::git::{Certificates, Server};
use crate::git_server::{LS, World, condition, config_map, rollout};
use crate::support;
use crate::tap::Call;

/// Keys of a Secret, with their values.
type Keys<'a> = &'a [(&'a str, &'a str)];

fn text(words: (&str, &str, &str)) -> (String, String, String) {
    (words.0.to_owned(), words.1.to_owned(), words.2.to_owned())
}

fn config_maps(world: &World) -> Api<ConfigMap> {
    Api::namespaced(world.admin.clone(), &world.namespace)
}

/// Names of the ConfigMaps that came from Git.
async fn applied(world: &World) -> Vec<String> {
    let list = config_maps(world).list(&ListParams::default().labels("tidegate.dev/owned-by")).await.unwrap();
    list.items.iter().map(ResourceExt::name_any).collect()
}

/// Who wrote this object, by the API server's own account; none when its audit log is not at hand.
async fn audited(world: &World, resource: &str, name: &str) -> Option<Vec<(String, String)>> {
    let path = std::env::var("TIDEGATE_AUDIT_LOG").ok()?;
    // The log is written beside the answer.
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    let log = fs::read_to_string(path).unwrap();
    let lines = log.lines().filter(|line| line.contains(&world.namespace));
    let events = lines.filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let ours = events.filter(|event| {
        let of = &event["objectRef"];
        of["resource"] == resource
            && of["name"] == name
            && of["namespace"] == world.namespace.as_str()
            && event["verb"] != "get"
            && event["stage"] == "ResponseComplete"
            && !event["requestURI"].as_str().unwrap().contains("dryRun")
    });
    let user = |event: &Value, key: &str| event[key]["username"].as_str().unwrap_or_default().to_owned();
    Some(ours.map(|event| (user(&event, "user"), user(&event, "impersonatedUser"))).collect())
}

/// Protects: everything from Git is read and written as the service account and nothing else is; each object says whose
/// it is; a commit elsewhere in the repository writes nothing; what left Git goes.
#[tokio::test]
async fn a_commit_is_applied_as_the_service_account() {
    World::run(async |world| {
        let files =
            [("web.yaml", &*rollout("web", "v1", 3)), ("a.yaml", &*config_map("a", "1")), ("b.yaml", &*config_map("b", "1"))];
        let first = world.push("first", &files);
        let status = world.look().await;
        assert_eq!(condition(&status, "Applied").0, "True", "{status:?}");
        let calls = world.tap.take();
        let writes: Vec<String> = calls.iter().filter_map(Call::write).collect();
        let inventory = "PATCH configmaps/shop-inventory";
        let wanted = [
            inventory,
            "PATCH configmaps/a",
            "PATCH configmaps/b",
            "PATCH rollouts/web",
            inventory,
            "PATCH applications/shop/status",
        ];
        assert_eq!(writes, wanted);
        let account = format!("system:serviceaccount:{}:deployer", world.namespace);
        for call in &calls {
            let from_git =
                ["configmaps/a?", "configmaps/b?", "rollouts/web?"].iter().any(|end| format!("{}?", call.path).contains(end));
            assert_eq!(call.user.as_deref(), from_git.then_some(account.as_str()), "{call:?}");
        }
        if let Some(writers) = audited(world, "rollouts", "web").await {
            assert_eq!(writers, [("system:serviceaccount:tidegate-system:tidegate".to_owned(), account)]);
        }
        assert_eq!(status.revision.unwrap().commit, first);
        assert_eq!(
            condition(&status_of(world).await, "Applied"),
            text(("True", "Succeeded", &format!("commit {first} is applied")))
        );

        let web = world.rollouts().get("web").await.unwrap();
        let app = world.applications().get("shop").await.unwrap();
        assert_eq!(web.labels()["tidegate.dev/owned-by"], format!("{}.shop", world.namespace));
        assert_eq!(web.annotations()["tidegate.dev/owner-uid"], app.uid().unwrap());
        assert_eq!(web.annotations()["tidegate.dev/commit"], first);
        let inventory_of = async || config_maps(world).get("shop-inventory").await.unwrap().data.unwrap();
        assert_eq!(
            inventory_of().await["Rollout.v1alpha1.tidegate.dev"],
            format!("{}/web {}\n", world.namespace, web.uid().unwrap())
        );

        // Elsewhere in the repository: one write, which says that this commit is applied.
        let elsewhere = world.forge.commit("elsewhere", &[("apps/other/c.yaml", Some("kind: [broken"))]);
        let status = world.look().await;
        assert_eq!(world.tap.writes(), ["PATCH applications/shop/status"]);
        assert_eq!(status.revision.unwrap().commit, elsewhere);
        assert_eq!(world.rollouts().get("web").await.unwrap().resource_version(), web.resource_version());
        world.look().await;
        assert_eq!(world.tap.writes(), Vec::<String>::new());

        world.forge.commit("without b", &[("apps/shop/b.yaml", None)]);
        world.look().await;
        assert_eq!(world.tap.writes(), ["DELETE configmaps/b", inventory, "PATCH applications/shop/status"]);
        assert_eq!(applied(world).await, ["a"]);
        assert_eq!(inventory_of().await["ConfigMap.v1"].lines().count(), 1);
    })
    .await;
}

async fn status_of(world: &World) -> tidegate::api::application::ApplicationStatus {
    world.status().await
}

/// Protects: two owners of one object; the second is refused with the name of the first, and writes nothing.
#[tokio::test]
async fn an_object_has_one_owner() {
    World::run(async |world| {
        world.push("first", &[("a.yaml", &config_map("a", "1"))]);
        world.look().await;
        world.create(&world.application("rival")).await;
        world.push("second", &[("a.yaml", &config_map("a", "2"))]);
        world.tap.take();
        world.pass_of("rival").await.unwrap();
        assert_eq!(world.tap.writes(), ["PATCH applications/rival/status"]);
        let status = world.applications().get("rival").await.unwrap().status.unwrap();
        let (_, reason, message) = condition(&status, "Applied");
        let wanted = format!(
            "nothing was applied: a.yaml:1: ConfigMap {0}/a belongs to the Application {0}.shop; remove it from one of the two, or its label tidegate.dev/owned-by to hand it over",
            world.namespace
        );
        assert_eq!((reason.as_str(), message), ("OwnedByOther", wanted));
        assert_eq!(config_maps(world).get("a").await.unwrap().data.unwrap()["key"], "1");
    })
    .await;
}

/// Protects: one bad file of ten stops all of them, by file and line; the next good commit goes through.
#[tokio::test]
async fn one_typo_applies_nothing() {
    World::run(async |world| {
        let good: Vec<(String, String)> = (0..10).map(|n| (format!("{n}.yaml"), config_map(&format!("c{n}"), "1"))).collect();
        let with = |typo: &str| -> Vec<(String, String)> {
            let mut files = good.clone();
            files[5].1 = typo.to_owned();
            files
        };
        let push = |message: &str, files: &[(String, String)]| {
            let files: Vec<(&str, &str)> = files.iter().map(|(file, text)| (file.as_str(), text.as_str())).collect();
            world.push(message, &files)
        };
        for (typo, kind, reason, place) in [
            ("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c5\n", "Rendered", "RenderFailed", "5.yaml:"),
            (
                "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c5}\n---\nkind: ConfigMap\nmetadata: {name: c55}\n",
                "Rendered",
                "RenderFailed",
                "5.yaml:5",
            ),
            ("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c5}\ndatta: {key: x}\n", "Applied", "ApplyFailed", "5.yaml:1"),
        ] {
            push("typo", &with(typo));
            let status = world.look().await;
            let (is, told, message) = condition(&status, kind);
            assert_eq!((is.as_str(), told.as_str()), ("False", reason), "{message}");
            assert!(message.contains(place), "{message}");
            assert_eq!(condition(&status, "Ready").1, reason);
            assert_eq!(world.tap.writes(), ["PATCH applications/shop/status"], "{typo}");
            assert_eq!(applied(world).await, Vec::<String>::new());
        }
        let mended = push("mended", &good);
        let status = world.look().await;
        assert_eq!(status.revision.unwrap().commit, mended);
        assert_eq!(applied(world).await.len(), 10);
    })
    .await;
}

/// Protects: what is wrong with credentials is said by its reason, and the last state stays.
#[tokio::test]
async fn wrong_credentials_are_told_apart() {
    World::run(async |world| {
        world.push("first", &[("a.yaml", &config_map("a", "1"))]);
        world.look().await;
        let missing = format!("Secret {}/deploy-read", world.namespace);
        let secrets: [(Keys<'_>, &str, &str); 4] = [
            (
                &[("username", "ada"), ("password", "planted-wrong")],
                "Denied",
                "failed to fetch: the Git server refuses the credentials (status 401)",
            ),
            (&[("username", "planted-ada")], "SecretMissing", "key 'password' of the Secret is missing beside username"),
            (&[("bearerToken", "planted\ntoken")], "SecretMissing", "key 'bearerToken' of the Secret"),
            (&[("password", "x"), ("ca.crt", "planted-ca")], "SecretMissing", "key 'ca.crt' of the Secret"),
        ];
        for (keys, reason, sentence) in secrets {
            world.secret("deploy-read", keys).await;
            // As the watch would have it: the branch is not due, and yet the old tip is not good enough any more.
            application::reconcile(&world.ctx, &world.namespace, "shop").await.unwrap();
            let (is, told, message) = condition(&world.status().await, "Fetched");
            assert_eq!((is.as_str(), told.as_str(), message.contains(sentence)), ("False", reason, true), "{message}");
            assert!(reason == "Denied" || message.starts_with(&missing), "{message}");
        }
        let api: Api<k8s_openapi::api::core::v1::Secret> = Api::namespaced(world.admin.clone(), &world.namespace);
        api.delete("deploy-read", &DeleteParams::default()).await.unwrap();
        let status = world.look().await;
        assert_eq!(condition(&status, "Fetched"), text(("False", "SecretMissing", &format!("{missing} does not exist"))));

        // An authority that nobody knows: nothing is sent there.
        let certificates = Certificates::new();
        let tls = Server::https(&world.forge.root(), &certificates);
        world.secret("deploy-read", &[("password", "planted-token")]).await;
        world.edit(json!({"source": {"repoURL": tls.url()}})).await;
        let status = world.look().await;
        assert_eq!(condition(&status, "Fetched").1, "UntrustedCertificate", "{status:?}");
        assert_eq!(tls.log(), Vec::<String>::new());
        let authority = String::from_utf8(certificates.authority()).unwrap();
        world.secret("deploy-read", &[("password", "planted-token"), ("ca.crt", &authority)]).await;
        assert_eq!(condition(&world.look().await, "Fetched").0, "True");
        assert_eq!(applied(world).await, ["a"]);
    })
    .await;
}

/// Protects: a mirror is shared by all who use its address, what is in it is not: an Application without working
/// credentials of its own reads nothing that another one fetched, not even what an earlier one of its name did.
#[tokio::test]
async fn nobody_reads_what_another_fetched() {
    World::run(async |world| {
        let first = world.push("first", &[("a.yaml", &config_map("a", "1"))]);
        assert_eq!(world.look().await.revision.unwrap().commit, first);
        let mut rival = world.application("rival");
        rival["spec"]["source"].as_object_mut().unwrap().remove("secretRef");
        world.create(&rival).await;
        let fetched = async |name: &str| {
            application::reconcile(&world.ctx, &world.namespace, name).await.unwrap();
            let status = world.applications().get(name).await.unwrap().status.unwrap();
            let (is, reason, _) = condition(&status, "Fetched");
            (is, reason, status.revision.is_some())
        };
        let denied = ("False".to_owned(), "Denied".to_owned(), false);
        assert_eq!(fetched("rival").await, denied);
        // The credentials are taken away: also the tip that they once got is out of reach.
        let anonymous = json!({"spec": {"source": {"secretRef": null}}});
        world.applications().patch("shop", &PatchParams::default(), &Patch::Merge(anonymous)).await.unwrap();
        assert_eq!(fetched("shop").await, ("False".to_owned(), "Denied".to_owned(), true));
        world.edit(json!({"source": {"secretRef": {"name": "deploy-read"}}})).await;
        assert_eq!(fetched("shop").await, ("True".to_owned(), "Succeeded".to_owned(), true));
        world.secret("deploy-read", &[("password", "planted-wrong")]).await;
        assert_eq!(fetched("shop").await, ("False".to_owned(), "Denied".to_owned(), true));
    })
    .await;
    World::run(async |world| {
        // Another Application of the same name, generation and Secret, in the moment between two passes: what the first
        // one's repository has is not what this one's has.
        world.push("first", &[("a.yaml", &config_map("a", "1"))]);
        world.look().await;
        world.applications().delete("shop", &DeleteParams::default()).await.unwrap();
        support::eventually("shop is gone", async || world.applications().get_opt("shop").await.unwrap().is_none()).await;
        let mut other = world.application("shop");
        other["spec"]["source"]["repoURL"] = json!(world.server.url_of("team/other.git"));
        world.create(&other).await;
        application::reconcile(&world.ctx, &world.namespace, "shop").await.unwrap();
        let status = world.status().await;
        assert_eq!((condition(&status, "Fetched").1.as_str(), status.revision), ("Denied", None));
    })
    .await;
    World::run(async |world| {
        // After a restart the mirror is still on the disk.
        world.push("first", &[("a.yaml", &config_map("a", "1"))]);
        world.look().await;
        world.restart_on_the_same_disk().await;
        world.secret("deploy-read", &[("password", "planted-wrong")]).await;
        world.push("second", &[("a.yaml", &config_map("a", "2"))]);
        let fetches = world.server.log().len();
        application::reconcile(&world.ctx, &world.namespace, "shop").await.unwrap();
        assert_eq!(condition(&world.status().await, "Fetched").1, "Denied");
        assert_eq!(world.server.log()[fetches..], [format!("GET /team/shop.git/{LS} authorized")]);
    })
    .await;
}

/// Protects: what a service account lacks is said with verb and resource, and nothing was written until then.
#[tokio::test]
async fn a_service_account_without_rights() {
    World::run(async |world| {
        world.create(&json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "nobody"}})).await;
        world.edit(json!({"destination": {"serviceAccountName": "nobody"}})).await;
        world.push("first", &[("a.yaml", &config_map("a", "1"))]);
        let (is, reason, message) = condition(&world.look().await, "Applied");
        assert_eq!((is.as_str(), reason.as_str()), ("False", "Forbidden"));
        for part in ["a.yaml:1", &format!("service account {}/nobody", world.namespace), "cannot get resource \"configmaps\""] {
            assert!(message.contains(part), "{part}: {message}");
        }
        assert_eq!(world.tap.writes(), ["PATCH applications/shop/status"]);
        // The API server's admission, not the cluster's roles: an account that does not exist has no rights either.
        world.edit(json!({"destination": {"serviceAccountName": "absent"}})).await;
        assert_eq!(condition(&world.look().await, "Applied").1, "Forbidden");
    })
    .await;
}

/// Protects: traffic that an abort took away. A sync that read the route at weight 10, and applies after the abort set
/// 0, looks again and leaves the 0.
#[tokio::test]
async fn an_abort_between_read_and_apply_stands() {
    World::run(async |world| {
        crate::play::install_gateway_api(&world.admin).await;
        let route = |comment: &str| {
            format!(
                "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: web, labels: {{comment: {comment}}}}}\nspec:\n  rules:\n  - \
                 backendRefs: [{{name: web-stable, port: 80, weight: 100}}, {{name: web-canary, port: 80, weight: 0}}]\n"
            )
        };
        world.push("first", &[("web.yaml", &rollout("web", "v1", 3)), ("route.yaml", &route("one"))]);
        // Kinds are looked up once a sync: a cluster that only just learned this one may need a second.
        support::eventually("the first sync", async || condition(&world.look().await, "Applied").0 == "True").await;
        let live: Api<DynamicObject> =
            { let object = json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute"}); support::api_of(&world.admin, &object, Some(&world.namespace)) };
        let set = async |stable: i64, canary: i64| {
            let weights = json!([
                {"op": "replace", "path": "/spec/rules/0/backendRefs/0/weight", "value": stable},
                {"op": "replace", "path": "/spec/rules/0/backendRefs/1/weight", "value": canary},
            ]);
            let patch: json_patch::Patch = serde_json::from_value(weights).unwrap();
            live.patch("web", &PatchParams::default(), &Patch::Json::<()>(patch)).await.unwrap();
        };
        let weights = async || {
            let route = live.get("web").await.unwrap();
            let refs = &route.data["spec"]["rules"][0]["backendRefs"];
            (refs[0]["weight"].clone(), refs[1]["weight"].clone(), route.labels()["comment"].clone())
        };
        set(90, 10).await;
        world.push("second", &[("route.yaml", &route("two"))]);
        let gate = world.tap.hold(&format!("PATCH /apis/gateway.networking.k8s.io/v1/namespaces/{}/httproutes/web", world.namespace));
        let abort = async {
            gate.reached().await;
            assert_eq!(weights().await, (json!(90), json!(10), "one".to_owned()));
            set(100, 0).await;
            gate.open();
        };
        let (passed, ()) = tokio::join!(world.pass(), abort);
        passed.unwrap();
        assert_eq!(weights().await, (json!(100), json!(0), "two".to_owned()));
        assert_eq!(condition(&world.status().await, "Applied").0, "True");
    })
    .await;
}

/// Protects: data. A claim that leaves Git through our own revert stays, also when a person's commit came on top of the
/// revert before it was synced, and also later; one that a person removes goes.
#[tokio::test]
async fn our_revert_deletes_no_data() {
    let claim = "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: data}\nspec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}\n";
    for on_top in [false, true] {
        World::run(async |world| {
            let good = world.push("shop: image v1", &[("web.yaml", &rollout("web", "v1", 3))]);
            world.look().await;
            world.stable("web", &good).await;
            world.push(
                "shop: image v2",
                &[("web.yaml", &rollout("web", "v2", 3)), ("data.yaml", claim), ("extra.yaml", &config_map("extra", "1"))],
            );
            world.look().await;
            world.fail("web", 1).await;
            if on_top {
                // The pass delivers the revert and syncs later than a colleague pushes.
                world.ctx.polls.forget(&world.namespace, "shop");
                let gate = world.tap.hold(&format!("POST /apis/events.k8s.io/v1/namespaces/{}/events", world.namespace));
                let colleague = async {
                    gate.reached().await;
                    world.push("Add b", &[("b.yaml", &config_map("b", "1"))]);
                    gate.open();
                };
                let (passed, ()) = tokio::join!(world.pass(), colleague);
                passed.unwrap();
            }
            world.look().await;
            assert_eq!((world.forge.ours().len(), world.forge.subjects()[0] == "Add b"), (1, on_top));
            let claims: Api<PersistentVolumeClaim> = Api::namespaced(world.admin.clone(), &world.namespace);
            let alive =
                async || claims.get_opt("data").await.unwrap().is_some_and(|claim| claim.metadata.deletion_timestamp.is_none());
            assert!(alive().await, "on top: {on_top}");
            assert_eq!(config_maps(world).get_opt("extra").await.unwrap(), None);
            // Not by a later commit either: only a person deletes it.
            world.push("later", &[("later.yaml", &config_map("later", "1"))]);
            world.look().await;
            assert!(alive().await);
            // Back in Git and taken out by a person, it is an object like any other.
            world.push("data again", &[("data.yaml", claim)]);
            world.look().await;
            world.forge.commit("data away", &[("apps/shop/data.yaml", None)]);
            world.restart(WriteBackFlag::On).await;
            world.look().await;
            assert!(!alive().await);
        })
        .await;
    }
}
