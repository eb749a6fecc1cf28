//! `simulate`: what would happen to a Rollout on a given day, from the same decision that the controller takes.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::args::Simulate;
use super::error::{CliError, Exit};
use super::text;
use crate::api::Rollout;
use crate::api::analysis::{AnalysisTemplate, ClusterAnalysisTemplate, Metric};
use crate::api::rollout::TemplateRef;
use crate::manifest::{self, File, Object};
use crate::rollout::spec;
use crate::simulate::cluster::Cluster;
use crate::simulate::day::Day;
use crate::simulate::script::Script;

/// Longest file that is read, in bytes.
const LARGEST: u64 = 1 << 20;
/// When every day begins.
const MORNING: &str = "2026-01-01T00:00:00Z";

/// Carries out `simulate`. Needs no cluster.
///
/// # Errors
/// `Usage` for files and scripts that cannot be read, `Refused` for a Rollout that the controller would refuse, and
/// `Unexpected` when the day breaks an invariant: a bug of ours, worth a report.
pub fn simulate(args: &Simulate, out: &mut dyn Write) -> Result<Exit, CliError> {
    let objects = objects(&args.file)?;
    let rollout = rollout(&objects, args.name.as_deref())?;
    let valid = spec::validate(&rollout).map_err(|error| CliError::new(Exit::Refused, &error.to_string()))?;
    let image = rollout.spec.template.pointer("/spec/containers/0/image").and_then(Value::as_str).unwrap_or("image");
    let day = match Day::ALL.iter().find(|(name, _)| *name == args.day) {
        Some((_, day)) => day.script(&valid, image),
        None => read(Path::new(&args.day))?,
    };
    let start: Timestamp = MORNING.parse().map_err(|error: jiff::Error| CliError::new(Exit::Unexpected, &error.to_string()))?;
    let mut cluster = Cluster::new(rollout.clone(), start);
    cluster.templates = templates(&rollout, &objects);
    let mut script = Script::new(cluster);
    let ended = script.run(&day);
    let told = ended.as_ref().map_or_else(|_| script.output().to_owned(), Clone::clone);
    for line in told.lines() {
        writeln!(out, "{}", kept_indent(line))?;
    }
    if let Some(violation) = script.violations.first() {
        let message = format!("the day broke {violation}");
        return Err(
            CliError::new(Exit::Unexpected, &message).hint("this is a bug of Tidegate; please report the file and the day")
        );
    }
    match ended {
        Ok(_) => Ok(Exit::Done),
        Err(error) => Err(CliError::new(Exit::Usage, &error.to_string())
            .hint("the lines of a day are listed at `kubectl tidegate simulate --help`")),
    }
}

/// Cleaned, with the spaces at its beginning, which are the layout.
fn kept_indent(line: &str) -> String {
    let indent = line.len() - line.trim_start_matches(' ').len();
    format!("{}{}", " ".repeat(indent), text::clean(line.trim_start_matches(' '), 1000))
}

fn read(path: &Path) -> Result<String, CliError> {
    let usage = |why: &dyn std::fmt::Display| CliError::new(Exit::Usage, &format!("failed to read {}: {why}", path.display()));
    let length = std::fs::metadata(path).map_err(|error| usage(&error))?.len();
    if length > LARGEST {
        return Err(usage(&format!("{length} bytes; at most {LARGEST} are read")));
    }
    std::fs::read_to_string(path).map_err(|error| usage(&error))
}

fn objects(path: &Path) -> Result<Vec<Object>, CliError> {
    let content = read(path)?.into_bytes();
    let file = File { path: path.display().to_string(), bytes: content };
    manifest::parse(&[file]).map_err(|error| CliError::new(Exit::Usage, &error.to_string()))
}

/// The Rollout of the file; with a name, that one of several.
fn rollout(objects: &[Object], name: Option<&str>) -> Result<Rollout, CliError> {
    let of_file = objects.iter().filter(|object| object.id.is("tidegate.dev", "Rollout"));
    let names: Vec<&str> = of_file.clone().map(|object| object.id.name.as_str()).collect();
    let mut meant = of_file.filter(|object| name.is_none_or(|name| object.id.name == name));
    let (Some(object), None) = (meant.next(), meant.next()) else {
        let message = match names.len() {
            0 => "the file has no Rollout".to_owned(),
            _ => format!("the file has the Rollouts {}; say which one with --name", names.join(", ")),
        };
        return Err(CliError::new(Exit::Usage, &message));
    };
    serde_json::from_value(object.value.clone()).map_err(|error| CliError::new(Exit::Refused, &format!("the Rollout: {error}")))
}

/// Metrics of the templates that the Rollout names, from the file; one by the name of each template that is elsewhere.
fn templates(rollout: &Rollout, objects: &[Object]) -> BTreeMap<String, Vec<Metric>> {
    let canary = &rollout.spec.strategy.canary;
    let of_steps = canary.steps.iter().filter_map(|step| step.analysis.as_ref()).flat_map(|analysis| &analysis.templates);
    let named = canary.analysis.iter().flat_map(|analysis| &analysis.templates).chain(of_steps);
    let metrics = |template: &TemplateRef| {
        let kind = if template.cluster_scope { "ClusterAnalysisTemplate" } else { "AnalysisTemplate" };
        let found = objects.iter().find(|o| o.id.is("tidegate.dev", kind) && o.id.name == template.template_name);
        let parsed = found.and_then(|object| {
            let value = object.value.clone();
            if template.cluster_scope {
                serde_json::from_value::<ClusterAnalysisTemplate>(value).ok().map(|template| template.spec.metrics)
            } else {
                serde_json::from_value::<AnalysisTemplate>(value).ok().map(|template| template.spec.metrics)
            }
        });
        let standing_in = json!([{"name": template.template_name, "interval": "10s", "successCondition": "true",
            "provider": {"prometheus": {"address": "http://prometheus", "query": "up"}}}]);
        parsed.unwrap_or_else(|| serde_json::from_value(standing_in).unwrap_or_default())
    };
    named.map(|template| (template.template_name.clone(), metrics(template))).collect()
}
