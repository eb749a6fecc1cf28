//! An Application as text.

use std::fmt::Write as _;

use jiff::Timestamp;
use kube::ResourceExt;

use super::{Facts, NAME, created, row, sentence, since, with_reason};
use crate::api::Application;
use crate::api::application::{ApplicationStatus, CommitInfo, WriteBackState};
use crate::api::condition;
use crate::cli::text;

/// A table of Applications, one a line.
#[must_use]
pub fn application_table(applications: &[Application], with_namespace: bool, now: Timestamp) -> String {
    let heads = ["NAME", "SYNC", "HEALTH", "COMMIT", "WRITE-BACK", "AGE"];
    let mut rows = vec![row(with_namespace.then_some("NAMESPACE"), &heads)];
    for application in applications {
        let status = application.status.clone().unwrap_or_default();
        let dash = || "-".to_owned();
        let cells = [
            application.name_any(),
            status.sync.as_ref().map_or_else(dash, |sync| format!("{:?}", sync.status)),
            status.health.as_ref().map_or_else(dash, |health| format!("{:?}", health.status)),
            status.revision.as_ref().map_or_else(dash, |revision| text::short_commit(&revision.commit)),
            status.write_backs.first().map_or_else(dash, |state| format!("{:?}/{}", state.phase, state.reason)),
            created(&application.metadata, now),
        ];
        let namespace = with_namespace.then(|| application.namespace().unwrap_or_default());
        rows.push(row(namespace.as_deref(), &cells.each_ref().map(String::as_str)));
    }
    text::table(&rows)
}

/// Everything that is known about an Application, on one screen.
#[must_use]
pub fn application(application: &Application, now: Timestamp) -> String {
    let status = application.status.clone().unwrap_or_default();
    let name = format!("{}/{}", application.namespace().unwrap_or_default(), application.name_any());
    let mut out = format!("Application {}\n\n{}", text::clean(&name, NAME), facts(application, &status));
    if let Some(resources) = status.resources.as_ref().filter(|resources| !resources.unhealthy.is_empty()) {
        out.push_str("\nNot healthy\n");
        for found in &resources.unhealthy {
            let name = text::clean(&format!("{} {}/{}", found.kind, found.namespace, found.name), NAME);
            let _ = writeln!(out, "  {name}: {}", with_reason(&format!("{:?}", found.health), Some(&found.message)));
        }
    }
    if !status.holds.is_empty() {
        out.push_str("\nHolds: these contents are not rolled out again until they change or somebody retries\n");
        for hold in &status.holds {
            let commit = hold.commit.as_deref().map_or_else(String::new, |c| format!(", commit {}", text::short_commit(c)));
            let why = sentence(&hold.reason);
            let _ = writeln!(out, "  {}{commit}: {why}, for {}", text::clean(&hold.rollout, NAME), since(&hold.since, now));
        }
    }
    if !status.write_backs.is_empty() {
        out.push_str("\nWrite-backs\n");
        for state in &status.write_backs {
            let _ = writeln!(out, "  {}", write_back(state, now));
        }
    }
    if !status.history.is_empty() {
        out.push_str("\nHistory\n");
        for entry in &status.history {
            let outcome = entry.outcome.map_or_else(|| "under way".to_owned(), |outcome| format!("{outcome:?}"));
            let commit = text::short_commit(&entry.commit);
            let (subject, ago) = (text::clean(&entry.subject, 80), since(&entry.deployed_at, now));
            let _ = writeln!(out, "  {commit}  {subject} ({ago} ago): {}", with_reason(&outcome, entry.evidence.as_deref()));
        }
    }
    out
}

fn facts(application: &Application, status: &ApplicationStatus) -> Facts {
    let mut facts = Facts::default();
    let source = &application.spec.source;
    let place = format!("{} {} at {}", source.repo_url, source.path, source.revision.branch);
    facts.add("Source", sentence(&place));
    if application.spec.suspend {
        facts.add("Suspended", "nothing is applied or written back");
    }
    let sync = status.sync.as_ref().map_or_else(|| "not seen by the controller yet".to_owned(), |s| format!("{:?}", s.status));
    facts.add("Sync", sync);
    if let Some(health) = &status.health {
        facts.add("Health", with_reason(&format!("{:?}", health.status), Some(&health.message)));
    }
    if let Some(revision) = &status.revision {
        facts.add("Commit", commit(revision));
    }
    if let Some(resources) = &status.resources {
        let (total, synced, healthy) = (resources.total, resources.synced, resources.healthy);
        facts.add("Resources", format!("{total}, of these {synced} as in Git and {healthy} healthy"));
    }
    // In the order in which an Application gets there: the first that fails explains the later ones.
    for kind in [condition::FETCHED, condition::RENDERED, condition::APPLIED] {
        if let Some(found) = status.conditions.iter().find(|c| c.type_ == kind && c.status != "True") {
            facts.add(&format!("Not {kind}"), with_reason(&text::clean(&found.reason, 60), Some(&found.message)));
        }
    }
    facts
}

fn commit(info: &CommitInfo) -> String {
    let (author, subject) = (text::clean(&info.author, 60), text::clean(&info.subject, 120));
    format!("{} {subject} ({author})", text::short_commit(&info.commit))
}

fn write_back(state: &WriteBackState, now: Timestamp) -> String {
    let mut line = format!("{}: {:?}", text::clean(&state.rollout, NAME), state.phase);
    let _ = write!(line, ", {}", with_reason(&text::clean(&state.reason, 60), Some(&state.message)));
    if let Some(failed) = &state.failed_commit {
        let _ = write!(line, ", reverts {}", text::short_commit(failed));
    }
    if let Some(revert) = &state.commit {
        let _ = write!(line, " with {}", text::short_commit(revert));
    }
    let _ = write!(line, ", {} ago", since(&state.at, now));
    line
}
