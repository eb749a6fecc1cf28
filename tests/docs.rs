//! The documents say only what is there: their YAML fits the types, their words are the code's words, their links lead
//! somewhere. A document that nobody checks is wrong within a month.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test stops at the first thing that is not as it should be")]

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tidegate::analysis::{Arm, Arms, Condition, Purpose, ResolveContext, Template, resolve};
use tidegate::api::analysis::Argument;
use tidegate::api::{AnalysisRun, AnalysisTemplate, Application, ClusterAnalysisTemplate, Project, Rollout, crds};
use tidegate::cli::args::Line;
use tidegate::controller::flags::ControllerArgs;
use tidegate::controller::telemetry::Metrics;
use tidegate::git::client::RemoteUrl;
use tidegate::git::revision::{BranchName, RepoPath};
use tidegate::rollout::spec;

/// README, CONTRIBUTING, and everything below `docs/`.
fn documents() -> Vec<PathBuf> {
    let mut files = vec![PathBuf::from("README.md"), PathBuf::from("CONTRIBUTING.md")];
    let mut folders = vec![PathBuf::from("docs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                files.push(path);
            }
        }
    }
    files.sort();
    assert!(files.len() >= 9 + 9, "documents are gone: {files:?}");
    files
}

/// The documents that people wrote.
fn written() -> Vec<PathBuf> {
    documents().into_iter().filter(|path| !path.starts_with("docs/reference")).collect()
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.as_ref().display()))
}

/// The fenced blocks of one language, each with its place.
fn blocks(path: &Path, language: &str) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    let mut open: Option<bool> = None;
    for (number, line) in read(path).lines().enumerate() {
        match (line.trim_start().strip_prefix("```"), open) {
            (Some(_), Some(_)) => open = None,
            (Some(of), None) => {
                open = Some(of.trim() == language);
                if of.trim() == language {
                    found.push((format!("{}:{}", path.display(), number + 1), String::new()));
                }
            }
            (None, Some(true)) => {
                let (_, text) = found.last_mut().unwrap();
                text.push_str(line);
                text.push('\n');
            }
            (None, _) => {}
        }
    }
    assert!(open.is_none(), "{}: a ``` is not closed", path.display());
    found
}

fn all_blocks(language: &str) -> Vec<(String, String)> {
    written().iter().flat_map(|path| blocks(path, language)).collect()
}

/// Paths of everything that `written` has and `kept` has not, or has otherwise.
fn lost(written: &Value, kept: &Value, path: &str, found: &mut Vec<String>) {
    match (written, kept) {
        (Value::Object(written), Value::Object(kept)) => {
            for (key, value) in written {
                match kept.get(key) {
                    Some(kept) => lost(value, kept, &format!("{path}.{key}"), found),
                    None => found.push(format!("{path}.{key}")),
                }
            }
        }
        (Value::Array(written), Value::Array(kept)) if written.len() == kept.len() => {
            for (index, (written, kept)) in written.iter().zip(kept).enumerate() {
                lost(written, kept, &format!("{path}[{index}]"), found);
            }
        }
        (Value::Object(_) | Value::Array(_), _) => found.push(path.to_owned()),
        _ => {}
    }
}

/// The object in its type, with nothing left over.
fn typed<K: DeserializeOwned + Serialize + Debug>(value: &Value) -> Result<K, String> {
    let object: K = serde_json::from_value(value.clone()).map_err(|error| error.to_string())?;
    let mut unknown = Vec::new();
    lost(value, &serde_json::to_value(&object).unwrap(), "", &mut unknown);
    unknown.retain(|path| !is_default(value, path));
    if unknown.is_empty() { Ok(object) } else { Err(format!("no such fields: {}", unknown.join(", "))) }
}

/// Fields that are left out when they are written back as `false`.
fn is_default(value: &Value, path: &str) -> bool {
    const LEFT_OUT_WHEN_FALSE: &[&str] = &[".spec.suspend", ".spec.allowEmpty", ".spec.writeBack.includeQuery"];
    let pointer = path.replace('.', "/");
    LEFT_OUT_WHEN_FALSE.contains(&path) && value.pointer(&pointer) == Some(&Value::Bool(false))
}

/// Can the controller use this template?
fn resolves(name: &str, args: &[Argument], metrics: &[tidegate::api::analysis::Metric]) -> Result<(), String> {
    let given: Vec<Argument> = args
        .iter()
        .filter(|arg| arg.value.is_none())
        .map(|arg| Argument { name: arg.name.clone(), value: Some("web".into()) })
        .collect();
    let arm = |service: &str| Arm { service: service.into(), port: Some(80), hash: service.into(), replica_set: service.into() };
    let arms = Arms { canary: arm("web-canary"), stable: arm("web-stable") };
    let context = ResolveContext { rollout: "web", namespace: "shop", arms: &arms, purpose: Purpose::Background };
    resolve(&[Template { name, args, metrics }], &given, &context).map(drop).map_err(|error| error.to_string())
}

fn application(app: &Application) -> Result<(), String> {
    let source = &app.spec.source;
    RemoteUrl::parse(&source.repo_url, false).map_err(|error| error.to_string())?;
    source.revision.branch.parse::<BranchName>().map_err(|error| error.to_string())?;
    source.path.parse::<RepoPath>().map_err(|error| error.to_string())?;
    let pushes = app.spec.write_back.as_ref().filter(|write_back| write_back.mode == Default::default());
    match pushes {
        Some(write_back) if write_back.secret_ref.is_none() => Err("mode Push needs a secretRef".to_owned()),
        _ => Ok(()),
    }
}

fn check_object(value: &Value) -> Result<(), String> {
    let word =
        |key: &str| value[key].as_str().ok_or(format!("no {key}: a block holds whole objects, so that they can be checked"));
    let (version, kind) = (word("apiVersion")?, word("kind")?);
    if version.split('/').next() != Some("tidegate.dev") {
        return Ok(());
    }
    if version != "tidegate.dev/v1alpha1" {
        return Err(format!("there is no {version}"));
    }
    match kind {
        "Rollout" => spec::validate(&typed::<Rollout>(value)?).map(drop).map_err(|error| error.to_string()),
        "Application" => application(&typed(value)?),
        "Project" => typed::<Project>(value).map(drop),
        "AnalysisTemplate" => {
            let template: AnalysisTemplate = typed(value)?;
            resolves("template", &template.spec.args, &template.spec.metrics)
        }
        "ClusterAnalysisTemplate" => {
            let template: ClusterAnalysisTemplate = typed(value)?;
            resolves("template", &template.spec.args, &template.spec.metrics)
        }
        "AnalysisRun" => typed::<AnalysisRun>(value).map(drop),
        other => Err(format!("there is no kind {other}")),
    }
}

/// Protects: whoever applies a ready template. Each is what the controller takes, and says which metrics it needs: those that it
/// asks for.
#[test]
fn ready_templates_are_what_the_controller_takes() {
    let mut tried = 0;
    for entry in fs::read_dir("analysis-templates").unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let value: Value = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(check_object(&value), Ok(()), "{}", path.display());
        let needs = text.lines().find_map(|line| line.strip_prefix("# Needs: ")).unwrap();
        let template: ClusterAnalysisTemplate = typed(&value).unwrap();
        for slo in template.spec.metrics.iter().map(|metric| metric.slo.as_ref().unwrap()) {
            for query in [slo.total.as_str(), slo.part().unwrap()] {
                let name = query.split('{').next().unwrap();
                let base = name.strip_suffix("_bucket").or(name.strip_suffix("_count")).unwrap_or(name);
                assert!(needs.contains(base), "{}: {base} is not in '{needs}'", path.display());
            }
        }
        tried += 1;
    }
    assert_eq!(tried, 4, "templates that nobody checks");
}

/// Protects: whoever copies an example. It is whole objects that the types have every field of, and that the
/// controller would carry out.
#[test]
fn yaml_is_what_the_controller_takes() {
    let (mut broken, mut ours) = (Vec::new(), BTreeSet::new());
    for (place, text) in all_blocks("yaml") {
        for document in text.split("\n---\n") {
            match serde_saphyr::from_str::<Value>(document) {
                Err(error) => broken.push(format!("{place}: {error}")),
                Ok(value) => {
                    if let Err(why) = check_object(&value) {
                        broken.push(format!("{place}: {why}"));
                    }
                    ours.insert(value["kind"].as_str().unwrap_or_default().to_owned());
                }
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    for kind in ["Application", "Rollout", "AnalysisTemplate", "Project"] {
        assert!(ours.contains(kind), "no example of a {kind}");
    }
}

/// Protects: the check above from letting everything through.
#[test]
fn wrong_yaml_is_refused() {
    let parse = |text: &str| check_object(&serde_saphyr::from_str::<Value>(text).unwrap()).unwrap_err();
    let app = |spec: &str| {
        format!(
            "apiVersion: tidegate.dev/v1alpha1\nkind: Application\nmetadata: {{name: a}}\nspec: {{source: {{repoURL: https://git.example.com/a, revision: {{branch: main}}, path: a}}, destination: {{namespace: a, serviceAccountName: d}}, {spec}}}\n"
        )
    };
    assert_eq!(parse(&app("appliedBy: Tidegate")), "no such fields: .spec.appliedBy");
    assert_eq!(parse(&app("writeBack: {mode: DryRun, unit: Rollout}")), "no such fields: .spec.writeBack.unit");
    assert_eq!(parse(&app("writeBack: {}")), "mode Push needs a secretRef");
    assert!(parse(&app("writeBack: {mode: PullRequest}")).contains("PullRequest"));
    assert!(parse("spec: {}").starts_with("no apiVersion"));
    assert_eq!(parse("apiVersion: tidegate.dev/v1alpha1\nkind: Promotion"), "there is no kind Promotion");
    let rollout = read("README.md");
    let (_, rollout) = rollout.split_once("kind: Rollout").unwrap();
    let rollout = format!("apiVersion: tidegate.dev/v1alpha1\nkind: Rollout{}", rollout.split("```").next().unwrap());
    assert!(parse(&rollout.replace("matchLabels: {app: web}", "matchLabels: {app: shop}")).contains("matchLabels"));
    assert!(parse(&rollout.replace("setWeight: 50", "experiment: {weight: 50}")).contains("steps[2]"));
}

/// Protects: conditions and queries that people copy from the text.
#[test]
fn conditions_and_queries_are_read() {
    let conditions = all_blocks("expr");
    assert!(!conditions.is_empty(), "no examples of conditions");
    for (place, text) in conditions {
        for line in text.lines() {
            Condition::parse(line).unwrap_or_else(|error| panic!("{place}: {line}: {error}"));
        }
    }
    for (place, text) in all_blocks("promql") {
        for line in text.lines() {
            promql_parser::parser::parse(line).unwrap_or_else(|error| panic!("{place}: {line}: {error}"));
        }
    }
}

/// First cells of the table rows in the section that begins with `heading`, without backquotes.
fn rows(path: &str, heading: &str) -> BTreeSet<String> {
    let text = read(path);
    let section = text.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("{path} has no '{heading}'")).1;
    let level = heading.split(' ').next().unwrap();
    let lines = section.lines().take_while(|line| !line.starts_with(&format!("{level} ")));
    let cells = lines.filter_map(|line| line.strip_prefix("| `")?.split_once('`')).map(|(cell, _)| cell.to_owned());
    cells.collect()
}

/// The constants of one module of `src/api/condition.rs`; of the file itself with an empty name.
fn constants(module: &str) -> BTreeSet<String> {
    let text = read("src/api/condition.rs");
    let part = match module {
        "" => text.split("pub mod ").next().unwrap(),
        _ => text.split_once(&format!("pub mod {module} {{\n")).unwrap().1.split("\n}\n").next().unwrap(),
    };
    let constants = part.lines().filter_map(|line| line.trim().strip_prefix("pub const ")?.split('"').nth(1));
    constants.map(str::to_owned).collect()
}

/// Protects: whoever looks up a word that status shows. Each has its row, and no row is about a word that does not exist.
#[test]
fn every_reason_is_explained() {
    let troubleshooting = "docs/troubleshooting.md";
    for (module, path, heading, least) in [
        ("", troubleshooting, "## Condition types", 10),
        ("rollout", troubleshooting, "## Rollout: reasons of conditions", 10),
        ("application", troubleshooting, "## Application: reasons of conditions", 10),
        ("write_back", "docs/write-back.md", "## Every reason", 20),
    ] {
        let wanted = constants(module);
        assert!(wanted.len() >= least, "constants of '{module}' are gone: {wanted:?}");
        assert_eq!(rows(path, heading), wanted, "{path}, {heading}");
    }
    let all = serde_json::to_value(crds()).unwrap();
    let rollout = all.as_array().unwrap().iter().find(|crd| crd["spec"]["names"]["kind"] == "Rollout").unwrap();
    let waiting = "/spec/versions/0/schema/openAPIV3Schema/properties/status/properties/waitingOn/properties/reason/enum";
    let words = rollout.pointer(waiting).unwrap().as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned());
    assert_eq!(rows(troubleshooting, "## Rollout: what it waits on"), words.collect(), "{troubleshooting}, waitingOn");
}

/// Names of all metrics as a scrape shows them.
fn metrics() -> BTreeSet<String> {
    let source = read("src/controller/telemetry.rs");
    let calls = source.split("registry.register(").skip(1);
    let names: Vec<&str> = calls.map(|call| call.split('"').nth(1).unwrap()).collect();
    assert!(names.len() >= 10, "registrations are gone: {names:?}");
    let metrics = Metrics::default();
    metrics.completed("promoted");
    metrics.verdict("Failed");
    metrics.write_back("Pushed");
    metrics.sync("done");
    metrics.git("fetch", "done");
    metrics.api_request("get", "pods", 200);
    metrics.pass("Rollout", std::time::Duration::ZERO, Some("other"));
    let scrape = metrics.text();
    let full = |name: &&str| {
        let counter = scrape.contains(&format!("# TYPE tidegate_{name} counter\n"));
        format!("tidegate_{name}{}", if counter { "_total" } else { "" })
    };
    names.iter().map(full).collect()
}

/// Protects: dashboards and alerts that people write from the text.
#[test]
fn every_metric_and_flag_is_explained() {
    let path = "docs/operations.md";
    let metrics = metrics();
    assert_eq!(rows(path, "## Metrics"), metrics);
    for document in written() {
        let text = read(&document);
        for (at, _) in text.match_indices("tidegate_") {
            let name: String = text[at..].chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
            assert!(metrics.contains(&name), "{}: there is no metric {name}", document.display());
        }
    }
    let command = ControllerArgs::augment_args(clap::Command::new("controller"));
    let flags: BTreeSet<String> = command.get_arguments().filter_map(|arg| Some(format!("--{}", arg.get_long()?))).collect();
    assert_eq!(rows(path, "## Flags"), flags);
}

/// Protects: the numbers by which the checker names a broken invariant, and the tests that it stands on.
#[test]
fn every_invariant_is_explained() {
    let mut files: Vec<_> = fs::read_dir("src/rollout/invariant").unwrap().map(|entry| entry.unwrap().path()).collect();
    files.push("src/rollout/invariant.rs".into());
    let source: String = files.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    let calls = source.split("say(").filter_map(|call| call.split(',').next()?.trim().parse().ok());
    let checked: BTreeSet<u8> = calls.collect();
    assert!(checked.len() >= 10, "the checker's numbers are gone: {checked:?}");
    let text = read("docs/safety.md");
    let rows = text.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" | "));
    let numbered: Vec<(u8, bool)> =
        rows.filter_map(|(number, rest)| Some((number.parse().ok()?, rest.ends_with("| every effect |")))).collect();
    let said: BTreeSet<u8> = numbered.iter().filter(|(_, every)| *every).map(|(number, _)| *number).collect();
    assert_eq!(said, checked, "docs/safety.md says 'every effect' of exactly what src/rollout/invariant.rs checks");
    let order: Vec<u8> = numbered.iter().map(|(number, _)| *number).collect();
    assert!(order.is_sorted() && order.iter().collect::<BTreeSet<_>>().len() == order.len(), "numbers stand twice: {order:?}");
}

/// Words that follow `prefix` in a text.
fn words_after<'t>(text: &'t str, prefix: &str) -> Vec<&'t str> {
    let end = |rest: &'t str| rest.find(|c: char| !c.is_ascii_lowercase() && c != '-').unwrap_or(rest.len());
    text.match_indices(prefix).map(|(at, _)| &text[at + prefix.len()..]).map(|rest| &rest[..end(rest)]).collect()
}

/// Protects: whoever types what the text says. A target that is not there yet is named as such, and only then.
#[test]
fn commands_exist() {
    let makefile = read("Makefile");
    let target = |name: &str| makefile.lines().any(|line| line.split(':').next() == Some(name) && line.contains(':'));
    let plugin = Line::command();
    let known: BTreeSet<&str> = plugin.get_subcommands().map(clap::Command::get_name).collect();
    for path in written() {
        let text = read(&path);
        let yet = text.lines().filter(|line| line.contains("not in the Makefile yet"));
        let missing: BTreeSet<&str> = yet.flat_map(|line| words_after(line, "`make ")).collect();
        for name in words_after(&text, "`make ").into_iter().chain(words_after(&text, "    make ")) {
            assert!(target(name) != missing.contains(name), "{}: make {name}: there or not there yet?", path.display());
        }
        for name in words_after(&text, "kubectl tidegate ") {
            assert!(name.is_empty() || known.contains(name), "{}: there is no 'kubectl tidegate {name}'", path.display());
        }
    }
}

/// A heading's anchor, as forges make it.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase().chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c)).collect::<String>();
    kept.replace(' ', "-")
}

/// Targets of the links in a text, outside of code.
fn links(text: &str) -> Vec<String> {
    let prose: String = text.split("```").step_by(2).flat_map(|part| part.split('`').step_by(2)).collect();
    let targets = prose.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0.to_owned()));
    targets.collect()
}

/// Protects: readers from links that lead nowhere.
#[test]
fn links_resolve() {
    let mut broken = Vec::new();
    let mut seen = 0;
    for path in documents() {
        for link in links(&read(&path)) {
            if link.contains("://") {
                continue;
            }
            seen += 1;
            let (file, part) = link.split_once('#').unwrap_or((&link, ""));
            let target = if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
            if !target.exists() {
                broken.push(format!("{}: {link}: no such file", path.display()));
            } else if !part.is_empty() {
                let text = read(&target);
                let headings = text.lines().filter(|line| line.starts_with('#')).map(|line| anchor(line.trim_start_matches('#')));
                if !headings.into_iter().any(|heading| heading == part) {
                    broken.push(format!("{}: {link}: no such heading", path.display()));
                }
            }
        }
    }
    assert!(seen >= 20, "only {seen} links were found");
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}
