//! `simulate`: a Rollout's file and a day, to the end, without a cluster.

use tidegate::cli::args::Simulate;
use tidegate::cli::error::{CliError, Exit};
use tidegate::cli::simulate::simulate;
use tidegate::simulate::day::Day;

const ROLLOUT: &str = "
apiVersion: tidegate.dev/v1alpha1
kind: Rollout
metadata: {name: web, namespace: shop}
spec:
  replicas: 4
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: shop}]}
  strategy:
    canary:
      stableService: web-stable
      canaryService: web-canary
      trafficRouting: {gatewayAPI: {httpRoutes: [{name: web}]}}
      analysis: {templates: [{templateName: availability}]}
      steps:
      - setWeight: 10
      - pause: {duration: 1m}
      - setWeight: 100
      - pause: {duration: 2m}
";

fn run(file: &str, day: &str, name: Option<&str>) -> (Result<Exit, CliError>, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rollout.yaml");
    std::fs::write(&path, file).unwrap();
    let script = folder.path().join("day");
    std::fs::write(&script, day).unwrap();
    let named = Day::ALL.iter().any(|(name, _)| *name == day);
    let day = if named { day.to_owned() } else { script.display().to_string() };
    let mut out = Vec::new();
    let result = simulate(&Simulate { file: path, day, name: name.map(str::to_owned) }, &mut out);
    (result, String::from_utf8(out).unwrap())
}

/// Protects: each day that has a name ends, breaks nothing, and tells what it is named for.
#[test]
fn each_day_by_name() {
    let mut told = String::new();
    for (name, _) in Day::ALL {
        let (result, out) = run(ROLLOUT, name, None);
        assert_eq!(result, Ok(Exit::Done), "{name}: {out}");
        told.push_str(&format!("=== {name}\n{out}"));
    }
    insta::assert_snapshot!("days", told);
}

/// Protects: a day of one's own, and that what cannot be read is said with its place.
#[test]
fn a_day_from_a_file() {
    let (result, out) = run(ROLLOUT, "wait 10s\ndeploy shop:2\nwait 20s\nabort\nwait 5s\n", None);
    assert_eq!(result, Ok(Exit::Done));
    assert!(out.contains("> abort\n") && out.contains("Degraded: revision"), "{out}");

    let message = |file: &str, day: &str, name: Option<&str>| {
        let error = run(file, day, name).0.unwrap_err();
        (error.exit, error.message)
    };
    assert_eq!(message(ROLLOUT, "wait 5s\nsing", None), (Exit::Usage, "line 2: 'sing' is no command".to_owned()));
    assert_eq!(message("kind: List\napiVersion: v1\nitems: []\n", "good", None).1, "the file has no Rollout");
    let two = format!("{ROLLOUT}---{}", ROLLOUT.replace("name: web, n", "name: api, n"));
    assert_eq!(message(&two, "good", None).1, "the file has the Rollouts web, api; say which one with --name");
    assert_eq!(run(&two, "good", Some("api")).0, Ok(Exit::Done));
    let refused = message(&ROLLOUT.replace("stableService: web-stable", "stableService: web-canary"), "good", None);
    let sentence = "spec.strategy.canary.canaryService: 'web-canary' is stableService too; must be another Service";
    assert_eq!(refused, (Exit::Refused, sentence.to_owned()));
}
