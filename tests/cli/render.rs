//! What a person sees in each state, as snapshots.

use serde_json::{Value, json};
use tidegate::cli::render;

use crate::fixtures;

/// Protects: at 3 a.m. one screen says what the state is, why, what it waits for and which step it stands at.
#[test]
fn a_rollout_in_each_state() {
    for (name, state) in states() {
        let rollout = fixtures::rollout(state);
        let text =
            format!("{}\n--- status line\n{}\n", render::rollout(&rollout, fixtures::now()), render::rollout_line(&rollout));
        insta::assert_snapshot!(name, text);
    }
}

fn states() -> Vec<(&'static str, Value)> {
    vec![
        ("new", fixtures::new()),
        ("healthy", fixtures::healthy()),
        ("stepping", fixtures::stepping()),
        ("waiting_for_weight", fixtures::waiting_for_weight()),
        ("timed_pause", fixtures::timed_pause()),
        ("waiting_for_person", fixtures::waiting_for_person()),
        ("inconclusive", fixtures::inconclusive()),
        ("failed", fixtures::failed()),
        ("held", fixtures::held()),
        ("invalid", fixtures::invalid()),
        ("hostile", fixtures::hostile()),
        ("paused_by_user", fixtures::paused_by_user()),
    ]
}

/// Protects: no state of ours carries a control or direction-changing character to the terminal.
#[test]
fn nothing_drives_the_terminal() {
    let rollout = fixtures::rollout(fixtures::hostile());
    let text = render::rollout(&rollout, fixtures::now()) + &render::rollout_line(&rollout);
    let found: Vec<char> = text.chars().filter(|c| (c.is_control() && *c != '\n') || *c == '\u{202e}').collect();
    assert_eq!(found, Vec::<char>::new());
    assert!(!text.lines().any(|line| line.starts_with("Healthy:")), "a foreign line break made a line of its own:\n{text}");
    assert!(text.lines().all(|line| line.chars().count() < 700), "a foreign text was shown at full length:\n{text}");
}

/// Protects: a status about an older spec is not taken for the answer to the newest one.
#[test]
fn an_old_status_says_so() {
    let mut state = fixtures::healthy();
    state["metadata"]["generation"] = json!(5);
    let line = render::rollout_line(&fixtures::rollout(state));
    assert_eq!(line, "web: Healthy: stable serves at full strength [before the latest change of the spec]");
}

/// Protects: the mark of an old failure does not stand at a step of the revision that came after it.
#[test]
fn an_old_failure_marks_no_step_of_a_new_revision() {
    let mut state = fixtures::stepping();
    state["status"]["failure"] = fixtures::failed()["status"]["failure"].clone();
    state["status"]["failure"]["revision"] = json!(3);
    let text = render::rollout(&fixtures::rollout(state), fixtures::now());
    let steps: Vec<&str> = text.split("\nSteps\n").nth(1).unwrap().lines().collect();
    let wanted = [
        "  ▶ 1  set weight 10 %",
        "    2  pause for 1m",
        "    3  analysis availability, latency",
        "    4  pause until somebody promotes",
    ];
    assert_eq!(steps, wanted);
}

/// Protects: the tables of `get`, with and without namespaces.
#[test]
fn tables() {
    let rollouts: Vec<_> = states().into_iter().take(8).map(|(_, state)| fixtures::rollout(state)).collect();
    let applications = [fixtures::typed_application(fixtures::application())];
    let text = [
        render::rollout_table(&rollouts, true, fixtures::now()),
        render::rollout_table(&rollouts[..1], false, fixtures::now()),
        render::application_table(&applications, false, fixtures::now()),
    ];
    insta::assert_snapshot!("tables", text.join("\n"));
}

/// Protects: an Application shows what is broken, what is held, and what was written back.
#[test]
fn an_application() {
    let application = fixtures::typed_application(fixtures::application());
    insta::assert_snapshot!("application", render::application(&application, fixtures::now()));
}

/// Protects: at 3 a.m. one screen says why a canary is trusted or not: what was counted, and how far that is from a verdict.
#[test]
fn an_explanation() {
    let runs: Vec<_> = fixtures::runs().into_iter().map(|run| serde_json::from_value(run).unwrap()).collect();
    let text = render::explanation(&fixtures::rollout(fixtures::stepping()), &runs, fixtures::now());
    insta::assert_snapshot!("explanation", text);
    let nothing = render::explanation(&fixtures::rollout(fixtures::healthy()), &[], fixtures::now());
    assert_eq!(nothing, "Rollout shop/web, no canary; how revision 3 became stable\n\nNothing was measured.\n");
}

/// Protects: the terminal, and the plugin, from runs that anybody may write.
#[test]
fn a_hostile_explanation() {
    let mut runs = fixtures::runs();
    let evil = "\u{1b}[31m\u{202e}evil\n";
    let result = &mut runs[1]["status"]["metricResults"][0];
    for (field, value) in [
        ("curve", "1 5 1e999999999999 -9223372036854775808 nan 9223372036854775807 1e308 7 0 8 -1 9".to_owned()),
        ("needed", format!("1e99999999{evil}")),
        ("evidence", evil.repeat(50)),
        ("dispersion", evil.repeat(50)),
    ] {
        result["slo"][field] = json!(value);
    }
    for needed in [evil, "100", "0", "-1", "1e-300"] {
        runs[1]["status"]["metricResults"][0]["slo"]["needed"] = json!(needed);
        let typed: Vec<_> = runs.iter().cloned().map(|run| serde_json::from_value(run).unwrap()).collect();
        let text = render::explanation(&fixtures::rollout(fixtures::stepping()), &typed, fixtures::now());
        let found: Vec<char> = text.chars().filter(|c| (c.is_control() && *c != '\n') || *c == '\u{202e}').collect();
        assert_eq!(found, Vec::<char>::new(), "{needed}");
        assert!(text.lines().all(|line| line.chars().count() < 700), "{needed}");
    }
}
