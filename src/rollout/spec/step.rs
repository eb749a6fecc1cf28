//! The steps of a canary.

use super::{SpecError, refuse};
use crate::api::analysis::Argument;
use crate::api::rollout::{self, TemplateRef};

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Percent of traffic for the canary, 0..=100.
    SetWeight(i32),
    /// Wait for a time, or for a person.
    Pause(Option<std::time::Duration>),
    /// Run an analysis to its end.
    Analysis(Analysis),
}

/// Templates and arguments of an analysis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Analysis {
    /// Templates by name.
    pub templates: Vec<TemplateRef>,
    /// Arguments.
    pub args: Vec<Argument>,
}

/// Analysis in the background of the steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Background {
    /// Templates and arguments.
    pub analysis: Analysis,
    /// Index of the step at which it begins.
    pub starting_step: usize,
}

/// Reads one step; its place is part of what a refusal says.
pub(super) fn parse(index: usize, step: &rollout::Step) -> Result<Step, SpecError> {
    let field = format!("spec.strategy.canary.steps[{index}]");
    match (&step.set_weight, &step.pause, &step.analysis) {
        (Some(weight), None, None) if (0..=100).contains(weight) => Ok(Step::SetWeight(*weight)),
        (Some(weight), None, None) => refuse(&format!("{field}.setWeight"), weight.to_string(), "must be between 0 and 100"),
        (None, Some(pause), None) => Ok(Step::Pause(pause.duration.map(|d| d.std()))),
        (None, None, Some(analysis)) if !analysis.templates.is_empty() => {
            Ok(Step::Analysis(Analysis { templates: analysis.templates.clone(), args: analysis.args.clone() }))
        }
        (None, None, Some(_)) => refuse(&format!("{field}.analysis.templates"), "empty", "must name at least one template"),
        _ => refuse(&field, "none or several of setWeight, pause, analysis", "must have exactly one of them"),
    }
}
