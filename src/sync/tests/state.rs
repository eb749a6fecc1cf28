//! Pieces of an Application's status.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

use super::id;
use crate::api::application::{CommitInfo, Health, HealthStatus, HistoryEntry, HistoryOutcome, ResourceHealth, Resources};
use crate::sync::state::{Seen, deployed, ended, resources, summary};

fn seen(text: &str, status: HealthStatus, message: &str) -> Seen {
    Seen { id: id(text), health: Health { status, message: message.to_owned() }, synced: true }
}

/// Protects: counts, the worst first, at most 50 named.
#[test]
fn resources_and_summary() {
    assert_eq!(summary(&[]), Health { status: HealthStatus::Healthy, message: String::new() });
    let mut all = vec![
        seen("v1 ConfigMap shop/c", HealthStatus::Healthy, ""),
        seen("v1 Pod shop/slow", HealthStatus::Progressing, "is starting"),
        Seen { synced: false, ..seen("apps/v1 Deployment shop/web", HealthStatus::Degraded, "crash\u{7}es") },
    ];
    let unhealthy = |group: &str, kind: &str, name: &str, health, message: &str| ResourceHealth {
        group: group.to_owned(),
        kind: kind.to_owned(),
        namespace: "shop".to_owned(),
        name: name.to_owned(),
        health,
        message: message.to_owned(),
    };
    let wanted = Resources {
        total: 3,
        synced: 2,
        healthy: 1,
        unhealthy: vec![
            unhealthy("apps", "Deployment", "web", HealthStatus::Degraded, "crashes"),
            unhealthy("", "Pod", "slow", HealthStatus::Progressing, "is starting"),
        ],
    };
    assert_eq!(resources(&all), wanted);
    assert_eq!(
        summary(&all),
        Health { status: HealthStatus::Degraded, message: "Deployment shop/web: crashes; and 1 more".to_owned() }
    );
    assert_eq!(
        summary(&all[..2]),
        Health { status: HealthStatus::Progressing, message: "Pod shop/slow: is starting".to_owned() }
    );
    all.extend((0..60).map(|n| seen(&format!("v1 Pod shop/p{n}"), HealthStatus::Unknown, "")));
    assert_eq!((resources(&all).unhealthy.len(), resources(&all).total), (50, 63));
}

/// Protects: the history tells each deployment once, newest first, and how it ended.
#[test]
fn history() {
    let at = |second: i64| Timestamp::from_second(second).unwrap();
    let commit = |commit: &str| CommitInfo {
        commit: commit.to_owned(),
        author: "A".to_owned(),
        subject: "s".to_owned(),
        committed_at: None,
    };
    let entry = |commit: &str, second: i64, outcome: Option<HistoryOutcome>, evidence: Option<&str>| HistoryEntry {
        commit: commit.to_owned(),
        author: "A".to_owned(),
        subject: "s".to_owned(),
        deployed_at: MicroTime(at(second)),
        outcome,
        evidence: evidence.map(str::to_owned),
    };
    let mut history = Vec::new();
    deployed(&mut history, &commit("1"), at(1));
    ended(&mut history, "1", HistoryOutcome::Healthy, None);
    deployed(&mut history, &commit("2"), at(2));
    deployed(&mut history, &commit("2"), at(9));
    deployed(&mut history, &commit("3"), at(3));
    ended(&mut history, "3", HistoryOutcome::Healthy, None);
    ended(&mut history, "3", HistoryOutcome::RolledBack, Some("31 errors\n"));
    ended(&mut history, "3", HistoryOutcome::Healthy, None);
    ended(&mut history, "nope", HistoryOutcome::Healthy, None);
    assert_eq!(
        history,
        [
            entry("3", 3, Some(HistoryOutcome::RolledBack), Some("31 errors")),
            entry("2", 2, Some(HistoryOutcome::Superseded), None),
            entry("1", 1, Some(HistoryOutcome::Healthy), None),
        ]
    );
    (10..30).for_each(|n| deployed(&mut history, &commit(&n.to_string()), at(n)));
    assert_eq!((history.len(), history[0].commit.as_str(), history[9].commit.as_str()), (10, "29", "20"));
}
