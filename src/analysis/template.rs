//! Templates and arguments to concrete metrics: what an AnalysisRun copies, with nothing left to fill in.
//!
//! Everything that can be refused is refused here, before a pod moves: unknown and missing arguments, placeholders in
//! the wrong place, conditions and queries that cannot be read, analyses that would never end.

mod placeholder;
mod promql;
mod slo;

use std::collections::{BTreeMap, BTreeSet};

use crate::api::analysis::{Argument, Metric, Prometheus, Provider};

use super::condition::{Condition, ConditionError};
use super::run::MIN_INTERVAL;
use super::text::clean;

pub use placeholder::PlaceholderError;

/// Longest argument value, in characters.
const MAX_VALUE: usize = 1024;
/// Longest query after its placeholders were filled in, in bytes: what the API allows for a query.
const MAX_QUERY: usize = 8192;
/// Most metrics of one analysis: what an AnalysisRun may hold.
const MAX_METRICS: usize = 200;
/// Longest piece of somebody's text in an error, in characters.
const SHOWN: usize = 80;

/// An AnalysisTemplate or ClusterAnalysisTemplate.
#[derive(Clone, Copy, Debug)]
pub struct Template<'a> {
    /// Its name, for errors.
    pub name: &'a str,
    /// The arguments it declares; a value there is a default.
    pub args: &'a [Argument],
    /// Its metrics.
    pub metrics: &'a [Metric],
}

/// What the analysis is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A step: it must come to an end by itself.
    Step {
        /// It has `atMost`: evidence may take so long.
        bounded: bool,
    },
    /// In the background of the steps: it may measure until it is ended.
    Background,
}

/// One side of a comparison: what `{{arm.*}}` stands for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arm {
    /// `{{arm.service}}`: the Service; empty where the Rollout names none.
    pub service: String,
    /// `{{arm.port}}`: the Service's port in the route; none without a route.
    pub port: Option<i64>,
    /// `{{arm.podTemplateHash}}`: the revision in the pods' label.
    pub hash: String,
    /// `{{arm.replicaSet}}`: name of the revision's ReplicaSet.
    pub replica_set: String,
}

impl Arm {
    /// By placeholder; what the arm does not have is missing.
    fn values(&self) -> impl Iterator<Item = (String, String)> {
        let service = Some(&self.service).filter(|service| !service.is_empty()).cloned();
        let all = [
            ("service", service),
            ("port", self.port.map(|port| port.to_string())),
            ("podTemplateHash", Some(self.hash.clone())),
            ("replicaSet", Some(self.replica_set.clone())),
        ];
        all.into_iter().filter_map(|(name, value)| Some((format!("arm.{name}"), value?)))
    }
}

/// Both sides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arms {
    /// The canary.
    pub canary: Arm,
    /// Stable.
    pub stable: Arm,
}

/// What our own placeholders stand for.
#[derive(Clone, Copy, Debug)]
pub struct ResolveContext<'a> {
    /// `{{rollout.name}}`.
    pub rollout: &'a str,
    /// `{{rollout.namespace}}`.
    pub namespace: &'a str,
    /// `{{arm.*}}`, in the queries of an `slo`.
    pub arms: &'a Arms,
    /// What the analysis is for.
    pub purpose: Purpose,
}

/// Why templates and arguments do not make an analysis. Each names the template, metric or argument, what was found
/// and what is allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// Nothing to measure.
    #[error("the analysis has no metrics; name at least one template with one")]
    NoMetrics,
    /// More than an AnalysisRun may hold.
    #[error("the analysis has {found} metrics; at most {MAX_METRICS} are allowed")]
    TooManyMetrics {
        /// How many.
        found: usize,
    },
    /// An argument without a value.
    #[error("template '{template}': argument '{arg}' has no value; give one in the Rollout's args or a default in the template")]
    MissingArg {
        /// Name of the template.
        template: String,
        /// Name of the argument.
        arg: String,
    },
    /// The Rollout gives an argument that no template declares.
    #[error("argument '{arg}' is not declared by any template of the analysis; declared are: {declared}")]
    UnknownArg {
        /// Name of the argument.
        arg: String,
        /// The declared ones.
        declared: String,
    },
    /// The same argument twice.
    #[error("argument '{arg}' is given twice")]
    DuplicateArg {
        /// Name of the argument.
        arg: String,
    },
    /// A value that could do harm in a query, or is too long.
    #[error("argument '{arg}': {problem}")]
    BadValue {
        /// Name of the argument.
        arg: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// Two metrics of the same name, over all templates.
    #[error("metric '{metric}' is defined by template '{first}' and again by '{second}'; names are unique in an analysis")]
    DuplicateMetric {
        /// Name of the metric.
        metric: String,
        /// Where it was first.
        first: String,
        /// Where it was again.
        second: String,
    },
    /// A metric that would never end, or cannot decide anything, or asks a bad address.
    #[error("template '{template}', metric '{metric}': {problem}")]
    BadMetric {
        /// Name of the template.
        template: String,
        /// Name of the metric.
        metric: String,
        /// What is wrong, and what is allowed.
        problem: String,
    },
    /// A condition that cannot be used.
    #[error("template '{template}', metric '{metric}', {field}: {error}")]
    BadCondition {
        /// Name of the template.
        template: String,
        /// Name of the metric.
        metric: String,
        /// `successCondition` or `failureCondition`.
        field: &'static str,
        /// What is wrong.
        error: ConditionError,
    },
    /// A placeholder that cannot be filled in.
    #[error("template '{template}', metric '{metric}', query: {error}")]
    BadPlaceholder {
        /// Name of the template.
        template: String,
        /// Name of the metric.
        metric: String,
        /// What is wrong.
        error: PlaceholderError,
    },
    /// Nothing is wrong as far as we know; the machine was too busy to read a query. Worth another try.
    #[error("failed to read a query: the parser is busy")]
    Busy,
}

impl TemplateError {
    /// Is it worth trying again without a change? True only when the machine was too busy to read a condition or query.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Busy | Self::BadCondition { error: ConditionError::Unread(_), .. })
    }
}

/// Makes one analysis of the templates, in their order. In the result every placeholder is filled in and every
/// condition and query has been read once.
///
/// An argument's value is the Rollout's (`args`), else the default of the template that uses it.
///
/// # Errors
/// The first thing that is wrong; see [`TemplateError`].
pub fn resolve(
    templates: &[Template<'_>],
    args: &[Argument],
    context: &ResolveContext<'_>,
) -> Result<Vec<Metric>, TemplateError> {
    let given = given(templates, args)?;
    let mut origin: BTreeMap<&str, &str> = BTreeMap::new();
    let mut metrics = Vec::new();
    for template in templates {
        let values = values(template, &given, context)?;
        for metric in template.metrics {
            if let Some(first) = origin.insert(&metric.name, template.name) {
                return Err(TemplateError::DuplicateMetric {
                    metric: shown(&metric.name),
                    first: shown(first),
                    second: shown(template.name),
                });
            }
            metrics.push(concrete(template, metric, &values, context)?);
        }
    }
    match metrics.len() {
        0 => Err(TemplateError::NoMetrics),
        found if found > MAX_METRICS => Err(TemplateError::TooManyMetrics { found }),
        _ => Ok(metrics),
    }
}

fn shown(text: &str) -> String {
    clean(text, SHOWN)
}

/// The Rollout's arguments by name: each declared by some template, given once, with a value.
fn given<'a>(templates: &[Template<'_>], args: &'a [Argument]) -> Result<BTreeMap<&'a str, &'a str>, TemplateError> {
    let declared: BTreeSet<&str> = templates.iter().flat_map(|t| t.args).map(|arg| arg.name.as_str()).collect();
    let mut given = BTreeMap::new();
    for arg in args {
        if !declared.contains(arg.name.as_str()) {
            let names: Vec<&str> = declared.iter().copied().collect();
            let declared = if names.is_empty() { "none".to_owned() } else { clean(&names.join(", "), 4 * SHOWN) };
            return Err(TemplateError::UnknownArg { arg: shown(&arg.name), declared });
        }
        let Some(value) = &arg.value else {
            return Err(TemplateError::BadValue { arg: shown(&arg.name), problem: "the Rollout names it without a value" });
        };
        check_value(&arg.name, value)?;
        if given.insert(arg.name.as_str(), value.as_str()).is_some() {
            return Err(TemplateError::DuplicateArg { arg: shown(&arg.name) });
        }
    }
    Ok(given)
}

fn check_value(arg: &str, value: &str) -> Result<(), TemplateError> {
    let problem = if value.chars().any(char::is_control) {
        "control characters and line breaks are not allowed in a value"
    } else if value.chars().count() > MAX_VALUE {
        "the value is too long; at most 1024 characters are allowed"
    } else {
        return Ok(());
    };
    Err(TemplateError::BadValue { arg: shown(arg), problem })
}

/// What each placeholder stands for in this template.
fn values(
    template: &Template<'_>,
    given: &BTreeMap<&str, &str>,
    context: &ResolveContext<'_>,
) -> Result<BTreeMap<String, String>, TemplateError> {
    let mut values = BTreeMap::from([
        ("rollout.name".to_owned(), context.rollout.to_owned()),
        ("rollout.namespace".to_owned(), context.namespace.to_owned()),
    ]);
    for arg in template.args {
        let value = given.get(arg.name.as_str()).copied().or(arg.value.as_deref());
        let Some(value) = value else {
            return Err(TemplateError::MissingArg { template: shown(template.name), arg: shown(&arg.name) });
        };
        check_value(&arg.name, value)?;
        if values.insert(format!("args.{}", arg.name), value.to_owned()).is_some() {
            return Err(TemplateError::DuplicateArg { arg: shown(&arg.name) });
        }
    }
    Ok(values)
}

/// One metric with everything filled in and checked.
fn concrete(
    template: &Template<'_>,
    metric: &Metric,
    values: &BTreeMap<String, String>,
    context: &ResolveContext<'_>,
) -> Result<Metric, TemplateError> {
    let bad = |problem: String| TemplateError::BadMetric { template: shown(template.name), metric: shown(&metric.name), problem };
    let placeholder =
        |error| TemplateError::BadPlaceholder { template: shown(template.name), metric: shown(&metric.name), error };
    pace(metric, context.purpose).map_err(|problem| bad(problem.to_owned()))?;
    let address = &metric.provider.prometheus.address;
    check_address(address).map_err(|problem| bad(format!("address: {problem}")))?;
    if let Some(slo) = &metric.slo {
        let slo = slo::concrete(slo, values, context.arms).map_err(|refused| match refused {
            slo::Refused::Slo(problem) => bad(problem),
            slo::Refused::Placeholder(error) => placeholder(error),
            slo::Refused::Busy => TemplateError::Busy,
        })?;
        return Ok(Metric { slo: Some(slo), ..metric.clone() });
    }
    let conditions = [("successCondition", &metric.success_condition), ("failureCondition", &metric.failure_condition)];
    for (field, condition) in conditions {
        let Some(condition) = condition else { continue };
        if condition.contains("{{") {
            return Err(bad(format!("placeholders are not allowed in {field}; they stand in string literals of the query")));
        }
        Condition::parse(condition).map_err(|error| TemplateError::BadCondition {
            template: shown(template.name),
            metric: shown(&metric.name),
            field,
            error,
        })?;
    }
    let query = metric.provider.prometheus.query.as_deref().unwrap_or_default();
    let query = placeholder::fill(query, values).map_err(placeholder)?;
    if query.len() > MAX_QUERY {
        return Err(bad(format!("query: {} bytes with its arguments; at most {MAX_QUERY} are allowed", query.len())));
    }
    promql::check(&query).map_err(|refused| match refused {
        promql::Refused::Query(problem) => bad(format!("query: {problem}")),
        promql::Refused::Busy => TemplateError::Busy,
    })?;
    let prometheus = Prometheus { address: address.clone(), query: Some(query) };
    Ok(Metric { provider: Provider { prometheus }, ..metric.clone() })
}

/// Does the metric decide something, and end when it must?
fn pace(metric: &Metric, purpose: Purpose) -> Result<(), &'static str> {
    if metric.slo.is_some() {
        return slo_pace(metric, purpose);
    }
    let count = metric.count.unwrap_or(1);
    match metric.interval {
        _ if metric.success_condition.is_none() && metric.failure_condition.is_none() => {
            Err("it needs successCondition, failureCondition or both; without either no value could decide anything")
        }
        Some(interval) if interval < MIN_INTERVAL => Err("interval: at least 1s is allowed"),
        _ if metric.provider.prometheus.query.is_none() => Err("it needs provider.prometheus.query"),
        Some(_) if metric.count.or(metric.consecutive_success_limit).is_none() && purpose != Purpose::Background => Err(
            "it has an interval and no count, so a step with it would never end; give it a count, or use it in the background",
        ),
        None if count > 1 => Err("a count above 1 needs an interval"),
        None if metric.consecutive_success_limit.is_some() => Err("consecutiveSuccessLimit needs an interval"),
        _ if count < 1 => Err("count: at least 1 is allowed"),
        _ if metric.consecutive_success_limit.is_some_and(|limit| limit < 1) => {
            Err("consecutiveSuccessLimit: at least 1 is allowed")
        }
        _ if metric.failure_limit == Some(-1) && metric.consecutive_success_limit.is_none() => {
            Err("failureLimit -1, no limit, needs consecutiveSuccessLimit: otherwise nothing could fail")
        }
        _ if [metric.failure_limit.filter(|limit| *limit != -1), metric.inconclusive_limit, metric.consecutive_error_limit]
            .iter()
            .flatten()
            .any(|l| *l < 0) =>
        {
            Err("limits are 0 or more")
        }
        _ => Ok(()),
    }
}

/// The same for an `slo`.
fn slo_pace(metric: &Metric, purpose: Purpose) -> Result<(), &'static str> {
    let others = metric.success_condition.is_some()
        || metric.failure_condition.is_some()
        || [metric.count, metric.failure_limit, metric.inconclusive_limit, metric.consecutive_success_limit]
            .iter()
            .any(Option::is_some);
    match metric.interval {
        _ if others => Err("with slo there are no conditions, limits and counts: the evidence decides"),
        _ if metric.initial_delay.is_some() => {
            Err("with slo there is no initialDelay; slo.warmUp is the time that does not count")
        }
        _ if metric.provider.prometheus.query.is_some() => Err("with slo there is no provider.prometheus.query"),
        None => Err("slo needs an interval, such as 5s"),
        Some(interval) if interval < MIN_INTERVAL => Err("interval: at least 1s is allowed"),
        Some(_) if purpose == (Purpose::Step { bounded: false }) => {
            Err("in a step its evidence could take for ever; give the step atMost, such as 10m")
        }
        Some(_) => Ok(()),
    }
}

/// `http://` or `https://`, a host, and nothing that hides another host or carries a secret.
///
/// # Errors
/// What is wrong, without repeating the address: it may hold a password.
fn check_address(address: &str) -> Result<(), &'static str> {
    const FORM: &str = "write it as http://host:port or https://host:port/path";
    if address.contains("{{") {
        return Err("placeholders are not allowed in it");
    }
    if address.contains('@') {
        return Err("credentials are not allowed in it");
    }
    if address.contains(['?', '#', '\\']) || address.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(FORM);
    }
    let uri: http::Uri = address.parse().map_err(|_| FORM)?;
    match (uri.scheme_str(), uri.host()) {
        (Some("http" | "https"), Some(host)) if !host.is_empty() => Ok(()),
        _ => Err(FORM),
    }
}

#[cfg(test)]
mod tests;
