//! The queries of an `slo`, once for each arm.

use std::collections::BTreeMap;

use crate::api::slo::{Slo, SloQueries, Slow};

use super::placeholder::{self, PlaceholderError};
use super::{Arm, Arms, MAX_QUERY, promql};

/// Largest share of requests that may be allowed to fail: the test compares small ratios.
const MAX_BUDGET: f64 = 0.5;

/// Why an `slo` cannot be measured.
pub(super) enum Refused {
    /// In words.
    Slo(String),
    /// A placeholder of one of its queries.
    Placeholder(PlaceholderError),
    /// The machine was too busy to read a query.
    Busy,
}

/// The `slo` with the queries of both arms.
pub(super) fn concrete(slo: &Slo, values: &BTreeMap<String, String>, arms: &Arms) -> Result<Slo, Refused> {
    let refuse = |problem: &str| Err(Refused::Slo(problem.to_owned()));
    if slo.stable.is_some() {
        return refuse("slo.stable: it is filled in by Tidegate; write {{arm.service}} in the queries instead");
    }
    let budget = slo.budget.ratio();
    if budget <= 0.0 || budget > MAX_BUDGET {
        return Err(Refused::Slo(format!("slo.budget: {}; it is above 0% and at most 50%", slo.budget)));
    }
    if let Some(below) = slo.ignore_below.filter(|below| *below > slo.budget) {
        return Err(Refused::Slo(format!("slo.ignoreBelow: {below}; it is at most the budget, {}", slo.budget)));
    }
    if slo.max_ratio_to_stable.as_ref().and_then(serde_json::Number::as_f64).is_some_and(|r| !(1.0..=100.0).contains(&r)) {
        return refuse("slo.maxRatioToStable: it is at least 1 and at most 100");
    }
    let canary = queries(slo, values, &arms.canary)?;
    let stable = queries(slo, values, &arms.stable)?;
    let part = if slo.slow.is_some() { "slow.bucket" } else { "errors" };
    for (field, same) in [("total", canary.total == stable.total), (part, canary.part == stable.part)] {
        if same {
            let problem = "without a placeholder such as {{arm.service}} canary and stable would be the same series";
            return Err(Refused::Slo(format!("slo.{field}: {problem}")));
        }
    }
    let mut concrete = Slo { total: canary.total, stable: Some(stable), ..slo.clone() };
    match &mut concrete.slow {
        Some(slow) => slow.bucket = canary.part,
        None => concrete.errors = Some(canary.part),
    }
    Ok(concrete)
}

fn queries(slo: &Slo, values: &BTreeMap<String, String>, arm: &Arm) -> Result<SloQueries, Refused> {
    let mut values = values.clone();
    values.extend(arm.values());
    let selector = |field: &str, query: &str| {
        let query = placeholder::fill(query, &values).map_err(Refused::Placeholder)?.trim().to_owned();
        if query.len() > MAX_QUERY {
            let problem = format!("slo.{field}: {} bytes with its arguments; at most {MAX_QUERY} are allowed", query.len());
            return Err(Refused::Slo(problem));
        }
        promql::check_selector(&query).map_err(|refused| match refused {
            promql::Refused::Query(problem) => Refused::Slo(format!("slo.{field}: {problem}")),
            promql::Refused::Busy => Refused::Busy,
        })?;
        Ok(query)
    };
    let total = selector("total", &slo.total)?;
    let part = match (&slo.errors, &slo.slow) {
        (Some(errors), None) => selector("errors", errors)?,
        (None, Some(slow)) => selector("slow.bucket", &with_bound(slow))?,
        _ => return Err(Refused::Slo("slo: it has exactly one of errors, slow".to_owned())),
    };
    Ok(SloQueries { total, part })
}

/// The selector of the one bucket. What is not a selector stays none, and is refused where that is checked.
pub(super) fn with_bound(slow: &Slow) -> String {
    let bucket = slow.bucket.trim_end();
    let matcher = format!("le=\"{}\"", slow.le.replace(['"', '\\', '\n'], ""));
    match bucket.strip_suffix('}').map(str::trim_end) {
        Some(open) if open.ends_with(['{', ',']) => format!("{open}{matcher}}}"),
        Some(open) => format!("{open},{matcher}}}"),
        None => format!("{bucket}{{{matcher}}}"),
    }
}
