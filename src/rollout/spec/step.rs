//! The steps of a canary.

use regex::{Regex, RegexBuilder};

use super::{SpecError, refuse, routing};
use crate::api::analysis::{GivenArgument, Metric};
use crate::api::rollout::{self, DryRun, OnInconclusive, TemplateRef, TrafficRouting};
use crate::api::{Duration, Percent};
use crate::traffic::gateway::ManagedRule;

/// Largest compiled pattern, in bytes: a pattern is anybody's text.
const LARGEST_PATTERN: usize = 64 * 1024;

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Traffic for the canary, a part of `maxTrafficWeight`.
    SetWeight(i32),
    /// Pods of the canary apart from its weight.
    SetCanaryScale(CanaryScale),
    /// Wait for a time, or for a person.
    Pause(Option<std::time::Duration>),
    /// Run an analysis to its end.
    Analysis(Analysis),
    /// Send requests to the canary by their headers; without headers, no longer.
    SetHeaderRoute(ManagedRule),
    /// Send copies of requests to the canary too; without a match, no longer.
    SetMirrorRoute(ManagedRule),
}

impl Step {
    /// The rule that it asks for, or asks to be gone.
    #[must_use]
    pub const fn rule(&self) -> Option<&ManagedRule> {
        match self {
            Self::SetHeaderRoute(rule) | Self::SetMirrorRoute(rule) => Some(rule),
            Self::SetWeight(_) | Self::SetCanaryScale(_) | Self::Pause(_) | Self::Analysis(_) => None,
        }
    }
}

/// How many pods the canary has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CanaryScale {
    /// This many.
    Replicas(i32),
    /// As many as this weight needs.
    Weight(i32),
    /// As many as the weight needs.
    MatchTrafficWeight,
}

/// Templates and arguments of an analysis.
#[derive(Clone, Debug)]
pub struct Analysis {
    /// Templates by name.
    pub templates: Vec<TemplateRef>,
    /// Arguments.
    pub args: Vec<GivenArgument>,
    /// Which metrics decide nothing.
    pub dry_run: Vec<Regex>,
    /// How long evidence on SLOs may take; in a step only.
    pub at_most: Option<Duration>,
    /// Without a verdict the step is passed; in a step only.
    pub passes_inconclusive: bool,
}

impl PartialEq for Analysis {
    fn eq(&self, other: &Self) -> bool {
        let patterns = |of: &Self| of.dry_run.iter().map(|pattern| pattern.as_str().to_owned()).collect::<Vec<_>>();
        let rest = |of: &Self| (of.at_most, of.passes_inconclusive);
        (&self.templates, &self.args, patterns(self), rest(self)) == (&other.templates, &other.args, patterns(other), rest(other))
    }
}

impl Eq for Analysis {}

impl Analysis {
    /// Reads an analysis; `field` is its path.
    pub(super) fn parse(
        field: &str,
        templates: &[TemplateRef],
        args: &[GivenArgument],
        dry_run: &[DryRun],
    ) -> Result<Self, SpecError> {
        if templates.is_empty() {
            return refuse(&format!("{field}.templates"), "empty", "must name at least one template");
        }
        let pattern = |(index, dry): (usize, &DryRun)| {
            let field = format!("{field}.dryRun[{index}].metricName");
            let regex = RegexBuilder::new(&dry.metric_name).size_limit(LARGEST_PATTERN).build();
            regex.or_else(|_| {
                refuse(&field, format!("'{}'", dry.metric_name.escape_debug()), "must be a regular expression (RE2)")
            })
        };
        let dry_run = dry_run.iter().enumerate().map(pattern).collect::<Result<_, _>>()?;
        let (templates, args) = (templates.to_vec(), args.to_vec());
        Ok(Self { templates, args, dry_run, at_most: None, passes_inconclusive: false })
    }

    /// Does this metric decide nothing?
    #[must_use]
    pub fn is_dry(&self, metric: &str) -> bool {
        self.dry_run.iter().any(|pattern| pattern.is_match(metric))
    }

    /// The first pattern that matches none of the metrics.
    #[must_use]
    pub fn idle_pattern(&self, metrics: &[Metric]) -> Option<&str> {
        let idle = |pattern: &&Regex| !metrics.iter().any(|metric| pattern.is_match(&metric.name));
        self.dry_run.iter().find(idle).map(Regex::as_str)
    }
}

/// Analysis in the background of the steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Background {
    /// Templates and arguments.
    pub analysis: Analysis,
    /// Index of the step at which it begins.
    pub starting_step: usize,
    /// How sure a verdict on SLOs has to be.
    pub confidence: Percent,
    /// How sure it has to be that a canary is good, to go on early.
    pub accept: Percent,
}

impl Background {
    /// For a Rollout that says nothing of it.
    pub const CONFIDENCE: Percent = Percent::whole(99);
    /// Likewise.
    pub const ACCEPT: Percent = Percent::whole(95);
}

const ONE_OF: &str = "must have exactly one of setWeight, setCanaryScale, pause, analysis, setHeaderRoute, setMirrorRoute";

fn weight(field: &str, weight: i32, whole: i32) -> Result<i32, SpecError> {
    if (0..=whole).contains(&weight) {
        return Ok(weight);
    }
    let named = if whole == TrafficRouting::WHOLE { "" } else { ", trafficRouting.maxTrafficWeight" };
    refuse(field, weight.to_string(), &format!("must be between 0 and {whole}{named}"))
}

fn canary_scale(field: &str, scale: &rollout::SetCanaryScale, whole: i32) -> Result<CanaryScale, SpecError> {
    match (scale.replicas, scale.weight, scale.match_traffic_weight) {
        (Some(replicas), None, false) if (0..=10_000).contains(&replicas) => Ok(CanaryScale::Replicas(replicas)),
        (Some(replicas), None, false) => {
            refuse(&format!("{field}.replicas"), replicas.to_string(), "must be between 0 and 10000")
        }
        (None, Some(found), false) => weight(&format!("{field}.weight"), found, whole).map(CanaryScale::Weight),
        (None, None, true) => Ok(CanaryScale::MatchTrafficWeight),
        _ => refuse(field, "none or several", "must have exactly one of replicas, weight, matchTrafficWeight: true"),
    }
}

/// Reads one step; its place is part of what a refusal says.
pub(super) fn parse(index: usize, step: &rollout::Step, whole: i32, managed: &[String]) -> Result<Step, SpecError> {
    let field = format!("spec.strategy.canary.steps[{index}]");
    let rollout::Step { set_weight, set_canary_scale, pause, analysis, set_header_route, set_mirror_route } = step;
    match (set_weight, set_canary_scale, pause, analysis, set_header_route, set_mirror_route) {
        (Some(found), None, None, None, None, None) => weight(&format!("{field}.setWeight"), *found, whole).map(Step::SetWeight),
        (None, Some(scale), None, None, None, None) => {
            canary_scale(&format!("{field}.setCanaryScale"), scale, whole).map(Step::SetCanaryScale)
        }
        (None, None, Some(pause), None, None, None) => Ok(Step::Pause(pause.duration.map(|d| d.std()))),
        (None, None, None, Some(analysis), None, None) => {
            let field = format!("{field}.analysis");
            if analysis.at_most.is_some_and(|at_most| at_most.std().is_zero()) {
                return refuse(&format!("{field}.atMost"), "0s", "must be longer than that");
            }
            let parsed = Analysis::parse(&field, &analysis.templates, &analysis.args, &analysis.dry_run)?;
            let passes_inconclusive = analysis.on_inconclusive == OnInconclusive::Continue;
            Ok(Step::Analysis(Analysis { at_most: analysis.at_most, passes_inconclusive, ..parsed }))
        }
        (None, None, None, None, Some(rule), None) => {
            routing::header_route(&format!("{field}.setHeaderRoute"), rule, managed).map(Step::SetHeaderRoute)
        }
        (None, None, None, None, None, Some(rule)) => {
            routing::mirror_route(&format!("{field}.setMirrorRoute"), rule, managed).map(Step::SetMirrorRoute)
        }
        _ => refuse(&field, "none or several", ONE_OF),
    }
}
