//! The write-back on a real API server and a real Git server: when a failed Rollout gets its revert commit, and when not.

use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::json;
use tidegate::api::application::{HistoryOutcome, WriteBackPhase};
use tidegate::controller::flags::WriteBackFlag;

use crate::git_server::{World, condition, now, only, rollout, told};
use crate::support;

fn words(phase: WriteBackPhase, reason: &str, message: &str) -> (WriteBackPhase, String, String) {
    (phase, reason.to_owned(), message.to_owned())
}

/// Protects: the core promise. One commit on the branch, which takes back the failed one and nothing else, says why, and
/// is synced; and it stays at one.
#[tokio::test]
async fn a_failure_becomes_one_commit() {
    World::run(async |world| {
        let (good, bad, id) = world.failed().await;
        let status = world.look().await;
        let entry = world.one_commit(&id, &bad).await;
        let ours = entry.commit.unwrap();
        assert_eq!(entry.candidates, std::slice::from_ref(&ours));
        assert_eq!(entry.message, format!("commit {ours} on main restores {good}"));
        assert_eq!(condition(&status, "WrittenBack"), ("True".to_owned(), "Pushed".to_owned(), entry.message));
        assert_eq!(world.forge.changed(&bad, &ours), ["apps/shop/web.yaml"]);
        assert_eq!(world.forge.changed(&good, &ours), Vec::<String>::new());
        let namespace = &world.namespace;
        let message = format!(
            "Revert \"shop: image v2\" (canary failed its SLO)\n\n\
             Rollout {namespace}/web stopped at step 2/6 (10 % of traffic) after 0 s:\n  \
             availability: 31 errors in 412 requests on the canary\n\nThis reverts commit {bad}.\n\n\
             Tidegate-Application: {namespace}/shop\nTidegate-Rollout: {namespace}/web\nTidegate-Failed-Commit: {bad}\n\
             Tidegate-Restores: {good}\nTidegate-Attempt: {id}\nTidegate-Analysis: {namespace}/web-2-1-slo"
        );
        assert_eq!(world.forge.message(&ours), message);
        // The same pass syncs it.
        assert_eq!(status.revision.unwrap().commit, ours);
        let outcome = |commit: &str| status.history.iter().find(|entry| entry.commit == commit).and_then(|entry| entry.outcome);
        assert_eq!(outcome(&bad), Some(HistoryOutcome::RolledBack));
        assert_eq!(world.rollouts().get("web").await.unwrap().spec.template["spec"]["containers"][0]["image"], "v1");
        let text = world.ctx.metrics.text();
        assert!(text.contains("tidegate_write_backs_total{reason=\"Pushed\"} 1"), "{text}");
        // And that is all.
        let record = "PATCH applications/shop/status";
        assert_eq!(world.tap.writes(), [record, "PATCH rollouts/web", record]);
        for _ in 0..2 {
            world.look().await;
        }
        assert_eq!((world.tap.writes(), world.forge.tip()), (vec![], ours));
    })
    .await;
}

/// Protects: an edit of a person that does not overlap survives the revert, and what is outside the path is untouched.
#[tokio::test]
async fn later_edits_survive() {
    World::run(async |world| {
        let (_, bad, id) = world.failed().await;
        world.push("Scale up", &[("web.yaml", &rollout("web", "v2", 7))]);
        let head = world.forge.commit("Elsewhere", &[("apps/other/x.yaml", Some("x: 1\n"))]);
        world.look().await;
        let ours = world.one_commit(&id, &bad).await.commit.unwrap();
        assert_eq!(world.forge.changed(&head, &ours), ["apps/shop/web.yaml"]);
        let live = world.rollouts().get("web").await.unwrap();
        assert_eq!((live.spec.replicas, &live.spec.template["spec"]["containers"][0]["image"]), (7, &json!("v1")));
    })
    .await;
}

/// Protects: people who are not to be reverted. Whatever the failure's annotations say, only a Rollout that the
/// Application's own inventory holds by its uid makes it write.
#[tokio::test]
async fn a_rollout_cannot_claim_an_application() {
    World::run(async |world| {
        world.before_failure().await;
        let head = world.forge.tip();
        let owner = world.applications().get("shop").await.unwrap().uid().unwrap();
        let claims = json!({
            "labels": {"tidegate.dev/owned-by": format!("{}.shop", world.namespace)},
            "annotations": {"tidegate.dev/owner-uid": owner, "tidegate.dev/commit": head},
        });
        let forged = async |name: &str| {
            let mut manifest: serde_json::Value = serde_saphyr::from_str(&rollout(name, "v2", 3)).unwrap();
            manifest["metadata"] = claims.clone();
            manifest["metadata"]["name"] = json!(name);
            world.create(&manifest).await;
            world.stable(name, &head).await;
            world.fail(name, 1).await;
        };
        forged("intruder").await;
        // The same name as one that is ours, but another object.
        world.rollouts().delete("web", &DeleteParams::default()).await.unwrap();
        support::eventually("web is gone", async || world.rollouts().get_opt("web").await.unwrap().is_none()).await;
        forged("web").await;
        for _ in 0..2 {
            let status = world.look().await;
            assert_eq!((status.write_backs, status.rollouts, status.holds), (vec![], vec![], vec![]));
        }
        world.nothing_pushed(&head);
    })
    .await;
}

/// Protects: a dry run shows the whole commit and pushes nothing, by the Application's mode and by the controller's flag.
#[tokio::test]
async fn dry_run_shows_and_pushes_nothing() {
    for flag in [WriteBackFlag::On, WriteBackFlag::DryRun] {
        World::run(async |world| {
            let (_, bad, id) = world.failed().await;
            world.restart(flag).await;
            if flag == WriteBackFlag::On {
                world.edit(json!({"writeBack": {"mode": "DryRun", "secretRef": null}})).await;
            }
            let entry = only(&world.look().await);
            assert_eq!(
                (entry.phase, entry.reason.as_str(), entry.failed_commit.as_deref()),
                (WriteBackPhase::Done, "DryRun", Some(bad.as_str()))
            );
            assert_eq!((entry.candidates, entry.commit), (vec![], None));
            assert!(
                entry
                    .message
                    .starts_with("would push, changing apps/shop/web.yaml:\nRevert \"shop: image v2\" (canary failed its SLO)\n"),
                "{}",
                entry.message
            );
            assert!(entry.message.contains(&format!("\nTidegate-Attempt: {id}\n")), "{}", entry.message);
            world.nothing_pushed(&bad);
        })
        .await;
    }
}

/// Protects: switched off is off, by mode, by flag, and where nobody asked for it.
#[tokio::test]
async fn switched_off() {
    let off = "write-back is switched off (spec.writeBack.mode or --write-back)";
    for (flag, mode) in [
        (WriteBackFlag::Off, None),
        (WriteBackFlag::On, Some(json!({"mode": "Disabled"}))),
        (WriteBackFlag::On, Some(json!(null))),
    ] {
        World::run(async |world| {
            let (_, bad, _) = world.failed().await;
            world.restart(flag).await;
            if let Some(mode) = mode {
                world.edit(json!({"writeBack": mode})).await;
            }
            assert_eq!(told(&world.look().await), words(WriteBackPhase::Refused, "Disabled", off));
            world.nothing_pushed(&bad);
        })
        .await;
    }
}

/// Protects: each state of the branch or the cluster in which a commit would be wrong: none is made, and the reason is
/// told.
#[tokio::test]
async fn reasons_for_no_commit() {
    let unknown = "it is not known which commit stable came from, so there is nothing known good to restore";
    World::run(async |world| {
        let (_, bad, _) = world.failed().await;
        world.set_rollout("web", json!({"stable": {"commit": null, "digest": "sha256:other"}})).await;
        assert_eq!(told(&world.look().await), words(WriteBackPhase::Refused, "StableUnverified", unknown));
        world.nothing_pushed(&bad);
    })
    .await;
    World::run(async |world| {
        world.failed().await;
        let fixed = world.push("Back to v1", &[("web.yaml", &rollout("web", "v1", 3))]);
        let done = "the branch has stable's content again; nothing to do";
        assert_eq!(told(&world.look().await), words(WriteBackPhase::Done, "AlreadyReverted", done));
        world.nothing_pushed(&fixed);
    })
    .await;
    World::run(async |world| {
        let (_, bad, _) = world.failed().await;
        // The same line's neighbour: the merge cannot tell what is meant.
        let edited = rollout("web", "v2", 3).replace("image: v2\n  # line 0\n", "image: v2\n        # pinned by Bob\n");
        let head = world.push("Comment", &[("web.yaml", &edited)]);
        let message = format!("later edits overlap what {} changed, in apps/shop/web.yaml", &bad[..12]);
        let (phase, reason, told) = told(&world.look().await);
        assert_eq!((phase, reason.as_str()), (WriteBackPhase::Refused, "Conflict"), "{told}");
        assert_eq!(told, message);
        world.nothing_pushed(&head);
    })
    .await;
    World::run(async |world| {
        world.failed().await;
        let head = world.push("v3", &[("web.yaml", &rollout("web", "v3", 3))]);
        assert_eq!(
            told(&world.look().await),
            words(WriteBackPhase::Refused, "Superseded", "the branch has other content by now")
        );
        world.nothing_pushed(&head);
    })
    .await;
}

/// Protects: a person's abort, and a Rollout that stopped without a verdict, leave Git as it is.
#[tokio::test]
async fn only_a_verdict_is_answered() {
    World::run(async |world| {
        let (_, bad) = world.before_failure().await;
        world.fail_because("web", 1, "AbortedByUser").await;
        let status = world.look().await;
        assert_eq!((status.write_backs, status.holds.len()), (vec![], 1));
        world.set_rollout("web", json!({"phase": "Paused", "abort": null, "failure": null, "holds": null, "pauseConditions": [{"reason": "InconclusiveAnalysis", "startTime": now()}]})).await;
        let status = world.look().await;
        assert_eq!((status.write_backs, status.holds), (vec![], vec![]));
        world.nothing_pushed(&bad);
    })
    .await;
}

/// Protects: a repository from a loop that commits again and again: the fourth within an hour waits, and goes ahead
/// when the first is an hour old.
#[tokio::test]
async fn three_in_an_hour() {
    World::run(async |world| {
        let (_, bad, id) = world.failed().await;
        let pushed = |minutes: [i64; 3]| {
            let entry = |minutes: i64| {
                let at = now().checked_sub(jiff::SignedDuration::from_mins(minutes)).unwrap();
                json!({"id": format!("gone/1/{minutes}"), "rollout": "gone", "phase": "Done", "reason": "Pushed", "failedAt": at, "at": at})
            };
            json!({"writeBacks": minutes.map(entry)})
        };
        world.set_status(pushed([10, 30, 59])).await;
        let status = world.look().await;
        let entry = &status.write_backs[0];
        assert_eq!((entry.id.as_str(), entry.phase, entry.reason.as_str()), (id.as_str(), WriteBackPhase::Waiting, "RateLimited"));
        assert!(entry.message.starts_with("3 write-backs within an hour; the next is due at "), "{}", entry.message);
        world.nothing_pushed(&bad);
        world.set_status(pushed([10, 30, 61])).await;
        let status = world.look().await;
        assert_eq!((status.write_backs[0].reason.as_str(), world.forge.ours().len()), ("Pushed", 1));
    })
    .await;
}

/// Protects: the whole company from one broken gateway: three of three Rollouts that fail together wait for a person;
/// their aborts are not undone by this.
#[tokio::test]
async fn many_that_fail_together_wait() {
    World::run(async |world| {
        let (_, bad, _) = world.failed().await;
        for name in ["one", "two"] {
            let manifest: serde_json::Value = serde_saphyr::from_str(&rollout(name, "v1", 3)).unwrap();
            world.create(&manifest).await;
            let patch = json!({"metadata": {"annotations": {"tidegate.dev/commit": bad}}});
            world.rollouts().patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
            world.fail(name, 1).await;
        }
        let message = "3 of 3 Rollouts under way failed within 10 minutes: a gateway or metric server may be broken; nothing is pushed until a person looks";
        for _ in 0..2 {
            assert_eq!(told(&world.look().await), words(WriteBackPhase::Waiting, "Waiting", message));
        }
        world.nothing_pushed(&bad);
        assert_eq!(world.tap.writes(), ["PATCH applications/shop/status"]);
    })
    .await;
}

/// Protects: one bad commit that broke two Rollouts is reverted once.
#[tokio::test]
async fn two_rollouts_one_commit_one_revert() {
    World::run(async |world| {
        let both = |image: &str| (rollout("web", image, 3), rollout("api", image, 3));
        let push = |image: &str| {
            let (web, api) = both(image);
            world.push(&format!("shop: image {image}"), &[("web.yaml", &web), ("api.yaml", &api)])
        };
        let good = push("v1");
        world.look().await;
        world.stable("web", &good).await;
        world.stable("api", &good).await;
        let bad = push("v2");
        world.look().await;
        let ids = [world.fail("api", 1).await, world.fail("web", 1).await];
        let status = world.look().await;
        assert_eq!(world.forge.ours().len(), 1);
        let mut told: Vec<(String, WriteBackPhase, String)> =
            status.write_backs.iter().map(|entry| (entry.id.clone(), entry.phase, entry.reason.clone())).collect();
        told.sort_by_key(|(_, _, reason)| reason.clone());
        let first = if told[1].0 == ids[0] { "api" } else { "web" };
        assert_eq!(
            (told[0].1, told[0].2.as_str(), told[1].1, told[1].2.as_str()),
            (WriteBackPhase::Done, "AlreadyReverted", WriteBackPhase::Done, "Pushed")
        );
        let other = if first == "api" { "web" } else { "api" };
        let message = world.forge.message(&world.forge.tip());
        assert!(message.contains(&format!("The same commits brought new content to {other}, which goes back too.")), "{message}");
        assert_eq!(world.forge.changed(&good, &world.forge.tip()), Vec::<String>::new());
        assert!(message.contains(&format!("This reverts commit {bad}.")), "{message}");
    })
    .await;
}

/// Protects: what is restored. A promotion that happened while Git was down, and was seen by no sync, is what counts as
/// stable, not what was stable when Git was last seen.
#[tokio::test]
async fn stable_is_what_it_is_now() {
    World::run(async |world| {
        let (first, second) = world.before_failure().await;
        assert_eq!(world.status().await.rollouts[0].stable_commit, first);
        // v2 is promoted in the moment in which v3 is synced: no pass saw v2 as stable.
        let gate = world.tap.hold(&format!("PATCH /apis/tidegate.dev/v1alpha1/namespaces/{}/rollouts/web", world.namespace));
        let third = world.push("shop: image v3", &[("web.yaml", &rollout("web", "v3", 3))]);
        let promotion = async {
            gate.reached().await;
            world.stable("web", &second).await;
            gate.open();
        };
        let (passed, ()) = tokio::join!(world.pass(), promotion);
        passed.unwrap();
        world.git_is_down();
        world.look().await;
        let id = world.fail("web", 1).await;
        world.server.heal();
        world.look().await;
        let ours = world.one_commit(&id, &third).await.commit.unwrap();
        assert_eq!(world.forge.changed(&second, &ours), Vec::<String>::new());
    })
    .await;
}

/// Protects: a status that comes to rest. More failures than entries are kept for must not push each other out for ever.
#[tokio::test]
async fn many_failures_come_to_rest() {
    World::run(async |world| {
        let names: Vec<String> = (0..12).map(|n| format!("web{n:02}")).collect();
        let texts: Vec<(String, String)> = names.iter().map(|name| (format!("{name}.yaml"), rollout(name, "v1", 1))).collect();
        let files: Vec<(&str, &str)> = texts.iter().map(|(file, text)| (file.as_str(), text.as_str())).collect();
        let head = world.push("all", &files);
        world.edit(json!({"writeBack": null})).await;
        world.look().await;
        for name in &names {
            world.fail(name, 1).await;
        }
        assert_eq!(world.look().await.write_backs.len(), 12);
        world.tap.take();
        assert_eq!(world.look().await.write_backs.len(), 12);
        assert_eq!(world.tap.writes(), Vec::<String>::new());
        // Once the failures are gone, the newest ten are kept.
        for name in &names {
            world.set_rollout(name, json!({"phase": "Healthy", "abort": null, "failure": null})).await;
        }
        assert_eq!(world.look().await.write_backs.len(), 10);
        world.nothing_pushed(&head);
    })
    .await;
}

/// Protects: the way from a Rollout's status to the branch without anybody asking: the loops themselves.
#[tokio::test]
async fn the_loops_deliver() {
    World::run(async |world| {
        let (_, bad, id) = world.failed().await;
        world.set_rollout("web", json!({"failure": null, "phase": "Progressing", "abort": null, "holds": null})).await;
        // The Rollout's own loop is not wanted here: it finds no Services and leaves a failure alone that is recorded.
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let ctx = std::sync::Arc::clone(&world.ctx);
        let loops = tokio::spawn(async move { tidegate::controller::watch::loops(&ctx, stopped).await });
        assert_eq!(world.fail("web", 1).await, id);
        support::eventually("the commit is on the branch", async || world.forge.ours().len() == 1).await;
        support::eventually("it is synced", async || {
            world.status().await.revision.is_some_and(|revision| revision.commit == world.forge.tip())
        })
        .await;
        stop.send(true).unwrap();
        loops.await.unwrap();
        world.one_commit(&id, &bad).await;
        let events: kube::Api<k8s_openapi::api::events::v1::Event> = kube::Api::namespaced(world.admin.clone(), &world.namespace);
        let events = events.list(&ListParams::default()).await.unwrap();
        let told = events.items.iter().filter(|event| event.reason.as_deref() == Some("Pushed")).count();
        assert_eq!(told, 1);
        assert_eq!(world.forge.subjects().len(), 3);
    })
    .await;
}
