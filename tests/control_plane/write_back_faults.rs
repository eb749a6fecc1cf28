//! The write-back when Git, the API server or the process fails on the way: never two commits, never a lost one.

use std::sync::{Arc, Mutex};

use kube::ResourceExt;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use serde_json::json;
use tidegate::api::application::{ApplicationStatus, WriteBackPhase};
use tidegate::controller::application;
use tidegate::controller::flags::WriteBackFlag;
use tokio::runtime::Handle;
use tokio::time::Instant;

use crate::git::Fault;
use crate::git_server::{LS, LS_PUSH, PLANTED, PLANTED_BASIC, PUSH, World, condition, logs, only, rollout, told};
use crate::support;

/// How many processes die at the same time, in worlds of their own.
const TOGETHER: usize = 6;

/// Protects: the record that lets a later process find our commit. At the moment the push arrives, the API server
/// already has its id.
#[tokio::test(flavor = "multi_thread")]
async fn the_candidate_is_recorded_before_the_push() {
    World::run(async |world| {
        let (_, bad, id) = world.failed().await;
        let seen: Arc<Mutex<Option<ApplicationStatus>>> = Arc::default();
        let (theirs, api, runtime) = (Arc::clone(&seen), world.applications(), Handle::current());
        let look = move || {
            let application = runtime.block_on(api.get("shop")).unwrap();
            *theirs.lock().unwrap() = application.status;
        };
        world.server.once(PUSH, Fault::First(Box::new(look)));
        world.look().await;
        let ours = world.one_commit(&id, &bad).await.commit.unwrap();
        let then = only(&seen.lock().unwrap().take().unwrap());
        assert_eq!(
            (then.phase, then.candidates, then.failed_commit, then.commit),
            (WriteBackPhase::Pending, vec![ours], Some(bad), None)
        );
    })
    .await;
}

/// Protects: a failure that nobody could write down at once. It waits with its reason, the Application keeps what it
/// has, and Git gets its commit when it is back.
#[tokio::test]
async fn git_down_at_the_verdict() {
    World::run(async |world| {
        let (_, bad, id) = world.failed().await;
        let before = world.status().await;
        world.git_is_down();
        for _ in 0..2 {
            let status = world.look().await;
            let (phase, reason, message) = told(&status);
            assert_eq!((phase, reason.as_str()), (WriteBackPhase::Pending, "Unreachable"));
            assert!(message.starts_with("failed to fetch: the Git server cannot be reached"), "{message}");
            assert_eq!(condition(&status, "Fetched").1, "Unreachable");
            assert_eq!(
                (&status.revision, &status.tree, &status.rollouts, &status.sync),
                (&before.revision, &before.tree, &before.rollouts, &before.sync)
            );
            assert_eq!(condition(&status, "Applied"), condition(&before, "Applied"));
        }
        assert_eq!(world.tap.writes(), ["PATCH applications/shop/status"]);
        world.server.heal();
        world.nothing_pushed(&bad);
        world.look().await;
        world.one_commit(&id, &bad).await;
    })
    .await;
}

/// Protects: each way in which the Git server can fail a push. It waits with the right word, and in the end there is
/// exactly one commit.
#[tokio::test]
async fn faults_of_the_push() {
    let faults: [(&str, Fault, &str); 7] = [
        (LS_PUSH, Fault::Status(401), "Denied"),
        (LS_PUSH, Fault::Status(503), "Unreachable"),
        (LS_PUSH, Fault::CutBefore, "Unreachable"),
        (PUSH, Fault::CutBefore, "Unreachable"),
        (PUSH, Fault::CutAfter, "Unreachable"),
        (PUSH, Fault::CutWithin, "Unreachable"),
        (PUSH, Fault::Status(413), "ProtectedBranch"),
    ];
    for (pattern, fault, reason) in faults {
        World::run(async |world| {
            let (_, bad, id) = world.failed().await;
            world.server.once(pattern, fault);
            let (phase, told, message) = told(&world.look().await);
            assert_eq!((phase, told.as_str()), (WriteBackPhase::Pending, reason), "{message}");
            world.restart(WriteBackFlag::On).await;
            world.look().await;
            world.one_commit(&id, &bad).await;
        })
        .await;
    }
}

/// The process dies after its `nth` call to the API server. Tells whether there was such a call.
async fn dies_after(nth: usize) -> bool {
    let mut ended = false;
    World::run(async |world| {
        let (_, bad, id) = world.failed().await;
        ended = world.pass_that_ends_after(nth).await;
        let pushed_before = world.forge.ours();
        for _ in 0..2 {
            world.look().await;
        }
        let entry = world.one_commit(&id, &bad).await;
        if let [ours] = &pushed_before[..] {
            assert_eq!(entry.commit.as_ref(), Some(ours), "after call {nth}");
        }
        assert_eq!(world.status().await.revision.unwrap().commit, world.forge.tip());
        assert_eq!(world.rollouts().get("web").await.unwrap().spec.template["spec"]["containers"][0]["image"], "v1");
    })
    .await;
    ended
}

/// Protects: at most one commit for a failure, and at least one. The process dies after every single call to the API
/// server in turn, the last ones after the push; the next one starts with an empty disk.
#[tokio::test]
async fn the_process_dies_after_every_call() {
    if support::config().await.is_none() {
        return;
    }
    let mut ends = 0;
    for first in (0..).step_by(TOGETHER) {
        let ended = futures::future::join_all((first..first + TOGETHER).map(dies_after)).await;
        ends += ended.iter().filter(|ended| **ended).count();
        if ended.contains(&false) {
            break;
        }
    }
    assert!(ends > 12, "only {ends} calls");
}

/// The answer to the `nth` call of a pass to the API server never comes. Tells whether there was such a call.
async fn hangs_at(nth: usize) -> bool {
    let mut hung = false;
    World::run(async |world| {
        let (_, bad, id) = world.failed().await;
        hung = world.pass_that_hangs_at(nth).await;
        for _ in 0..2 {
            world.look().await;
        }
        world.one_commit(&id, &bad).await;
    })
    .await;
    hung
}

/// Protects: the Application loop from calls that never end. Each call of a pass hangs in turn: the pass ends all the same, and
/// later ones go on to the one commit.
#[tokio::test]
async fn every_call_has_a_deadline() {
    if support::config().await.is_none() {
        return;
    }
    let mut hung = 0;
    for first in (0..).step_by(2 * TOGETHER) {
        let all = futures::future::join_all((first..first + 2 * TOGETHER).map(hangs_at)).await;
        hung += all.iter().filter(|hung| **hung).count();
        if all.contains(&false) {
            break;
        }
    }
    assert!(hung > 12, "only {hung} calls");
}

/// Protects: colleagues. Two pushes of theirs come in between: ours is computed anew on each new tip, theirs stay.
#[tokio::test]
async fn pushes_in_between() {
    World::run(async |world| {
        let (_, bad, id) = world.failed().await;
        world.server.once(LS_PUSH, Fault::First(world.forge.somebody("apps/other/one.txt")));
        world.server.once(PUSH, Fault::First(world.forge.somebody("apps/shop/two.txt")));
        world.look().await;
        let entry = world.one_commit(&id, &bad).await;
        assert_eq!(entry.candidates.len(), 3);
        let subjects = [
            "Revert \"shop: image v2\" (canary failed its SLO)",
            "Add apps/shop/two.txt",
            "Add apps/other/one.txt",
            "shop: image v2",
            "shop: image v1",
        ];
        assert_eq!(world.forge.subjects(), subjects);
        assert_eq!(
            world.forge.changed(&bad, &world.forge.tip()),
            ["apps/other/one.txt", "apps/shop/two.txt", "apps/shop/web.yaml"]
        );
    })
    .await;
}

/// A retry: the Rollout's failure and hold are gone.
async fn retry(world: &World) {
    world.set_rollout("web", json!({"phase": "Progressing", "abort": null, "failure": null, "holds": null, "attempt": 2})).await;
}

/// Protects: a person's retry before anything was sent: nothing is.
#[tokio::test]
async fn a_retry_before_delivery() {
    World::run(async |world| {
        let (_, bad, id) = world.failed().await;
        world.git_is_down();
        world.look().await;
        retry(world).await;
        for _ in 0..2 {
            let entry = only(&world.look().await);
            let words = "the failed content was retried or replaced before anything was pushed";
            assert_eq!(
                (entry.id.as_str(), entry.phase, entry.reason.as_str(), entry.message.as_str()),
                (id.as_str(), WriteBackPhase::Refused, "Retried", words)
            );
            world.server.heal();
        }
        world.nothing_pushed(&bad);
        // It fails again: that is another failure, and is answered.
        let again = world.fail("web", 2).await;
        let status = world.look().await;
        let told: Vec<(&str, &str)> = status.write_backs.iter().map(|entry| (entry.id.as_str(), entry.reason.as_str())).collect();
        assert_eq!(told, [(again.as_str(), "Pushed"), (id.as_str(), "Retried")]);
        assert_eq!(world.forge.ours().len(), 1);
    })
    .await;
}

/// Protects: the truth about a push whose answer was lost, when a person retried meanwhile: the branch tells.
#[tokio::test]
async fn a_retry_after_a_push_that_may_have_arrived() {
    for (fault, arrived) in [(Fault::CutAfter, true), (Fault::CutBefore, false)] {
        World::run(async |world| {
            let (_, bad, id) = world.failed().await;
            world.server.once(PUSH, fault);
            assert_eq!(told(&world.look().await).0, WriteBackPhase::Pending);
            retry(world).await;
            // While the branch cannot be seen, nobody claims to know.
            world.server.always(LS, Fault::CutBefore);
            assert_eq!(
                (told(&world.look().await).0, told(&world.status().await).1),
                (WriteBackPhase::Pending, "Unreachable".to_owned())
            );
            world.server.heal();
            world.look().await;
            if arrived {
                world.one_commit(&id, &bad).await;
                assert_eq!(world.status().await.revision.unwrap().commit, world.forge.tip());
            } else {
                let (phase, reason, _) = told(&world.status().await);
                assert_eq!((phase, reason.as_str(), world.forge.tip()), (WriteBackPhase::Refused, "Retried", bad));
            }
            world.restart(WriteBackFlag::On).await;
            let before = world.status().await;
            assert_eq!(world.look().await.write_backs, before.write_backs);
            assert_eq!(world.forge.ours().len(), usize::from(arrived));
        })
        .await;
    }
}

/// Protects: a write-back whose Rollout left Git does not stay Pending for ever; one whose label somebody took off is
/// not given up.
#[tokio::test]
async fn a_rollout_that_left() {
    World::run(async |world| {
        let (_, bad, id) = world.failed().await;
        world.server.always(LS_PUSH, Fault::CutBefore);
        world.look().await;
        let label = |value: serde_json::Value| Patch::Merge(json!({"metadata": {"labels": {"tidegate.dev/owned-by": value}}}));
        world.rollouts().patch("web", &PatchParams::default(), &label(json!(null))).await.unwrap();
        assert_eq!(told(&world.look().await).0, WriteBackPhase::Pending);
        world.rollouts().patch("web", &PatchParams::default(), &label(json!(format!("{}.shop", world.namespace)))).await.unwrap();
        world.server.heal();
        world.look().await;
        world.one_commit(&id, &bad).await;
    })
    .await;
    World::run(async |world| {
        world.failed().await;
        world.server.always(LS_PUSH, Fault::CutBefore);
        world.look().await;
        let gone = world.forge.commit("Remove web", &[("apps/shop/web.yaml", None)]);
        let (_, reason, _) = told(&world.look().await);
        assert_eq!((reason.as_str(), world.forge.tip()), ("Superseded", gone.clone()));
        world.nothing_ours(&gone);
    })
    .await;
    World::run(async |world| {
        world.failed().await;
        world.git_is_down();
        world.look().await;
        // Somebody removes the Rollout by hand while Git is down, and it is another one when it is back.
        world.rollouts().delete("web", &DeleteParams::default()).await.unwrap();
        support::eventually("web is gone", async || world.rollouts().get_opt("web").await.unwrap().is_none()).await;
        world.server.heal();
        let head = world.push("shop: image v3", &[("web.yaml", &rollout("web", "v3", 3))]);
        for _ in 0..2 {
            world.look().await;
        }
        let (phase, reason, _) = told(&world.status().await);
        assert_eq!((phase, reason.as_str()), (WriteBackPhase::Refused, "Retried"));
        world.nothing_ours(&head);
    })
    .await;
}

/// Protects: secrets. Credentials that work, credentials that do not, keys that are missing, a server that sends them
/// back: they stand in no status, event, log, metric or commit.
#[tokio::test]
async fn secrets_are_told_to_nobody() {
    World::run(async |world| {
        let (_, bad, id) = world.failed().await;
        let wrong: [&[(&str, &str)]; 3] = [
            &[("username", "planted-ada"), ("password", "planted-wrong")],
            &[("username", "planted-ada")],
            &[("bearerToken", "planted-wrong"), ("ca.crt", "planted-ca")],
        ];
        // The one that pushes first: with it, the commit would go out.
        for name in ["deploy-write", "deploy-read"] {
            for keys in wrong {
                world.secret(name, keys).await;
                let (phase, reason, _) = told(&world.look().await);
                assert_eq!((phase, reason.as_str()), (WriteBackPhase::Pending, "Denied"));
            }
        }
        for name in ["deploy-write", "deploy-read"] {
            world.secret(name, &[("username", "ada"), ("password", PLANTED)]).await;
        }
        for fault in [Fault::Html, Fault::Redirect(format!("http://localhost:1{{path}}&token={PLANTED}")), Fault::Status(500)] {
            world.server.always(LS, fault);
            assert_eq!(told(&world.look().await).0, WriteBackPhase::Pending);
            world.server.heal();
        }
        world.server.once(PUSH, Fault::Html);
        world.look().await;
        world.look().await;
        world.one_commit(&id, &bad).await;

        let mut all = vec![("logs", logs()), ("metrics", world.ctx.metrics.text()), ("commits", world.forge.all_texts())];
        for (api_version, kind) in [
            ("v1", "ConfigMap"),
            ("events.k8s.io/v1", "Event"),
            ("tidegate.dev/v1alpha1", "Application"),
            ("tidegate.dev/v1alpha1", "Rollout"),
        ] {
            let object = json!({"apiVersion": api_version, "kind": kind});
            let api: Api<DynamicObject> = support::api_of(&world.admin, &object, Some(&world.namespace));
            let list = api.list(&ListParams::default()).await.unwrap();
            assert!(
                list.items.iter().all(|item| item.namespace().as_deref() == Some(&world.namespace)) && !list.items.is_empty(),
                "{kind}"
            );
            all.push((kind, serde_json::to_string(&list.items).unwrap()));
        }
        assert!(
            all[0].1.contains("the Git server refuses the credentials") && all[0].1.contains("TRACE"),
            "the logs are not captured"
        );
        for (what, text) in all {
            for secret in ["planted", PLANTED_BASIC] {
                let found = text.find(secret).map(|at| text[at.saturating_sub(200)..(at + 100).min(text.len())].to_owned());
                assert_eq!(found, None, "{what}");
            }
        }
    })
    .await;
}

/// Protects: Git servers. One that fails is asked once per pause and purpose, not by every pass, and what it failed with
/// stays said; who mends the credentials need not wait.
#[tokio::test]
async fn a_failing_server_is_left_alone() {
    World::run(async |world| {
        let (_, bad, id) = world.failed().await;
        world.git_is_down();
        let known = world.server.log().len();
        let began = Instant::now();
        let first = world.look().await;
        world.tap.take();
        for _ in 0..6 {
            application::reconcile(&world.ctx, &world.namespace, "shop").await.unwrap();
        }
        // The write-back asks again every 5 s, on however slow a machine this is; the sync after a minute.
        let most = 2 + began.elapsed().as_secs() / 5 + began.elapsed().as_secs() / 60;
        let asked = (world.server.log().len() - known) as u64;
        assert!((2..=most).contains(&asked), "{asked} requests in {:?}", began.elapsed());
        assert_eq!(world.status().await, first);
        assert_eq!(world.tap.writes(), Vec::<String>::new());

        world.server.heal();
        for name in ["deploy-read", "deploy-write"] {
            world.secret(name, &[("username", "ada"), ("password", PLANTED)]).await;
        }
        application::reconcile(&world.ctx, &world.namespace, "shop").await.unwrap();
        world.one_commit(&id, &bad).await;
    })
    .await;
}
