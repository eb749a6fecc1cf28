//! Is a text PromQL? Read once when an analysis is resolved, so that a typing error is found before a pod moves.

use std::time::Duration;

use promql_parser::parser::Expr;
use promql_parser::parser::value::ValueType;

use super::super::sandbox::{self, Stopped};
use super::super::text::clean;

/// Most words and signs. Each may make the parser's tree one level deeper, and a tree that is too deep overflows the
/// stack, which cannot be caught. Real queries have tens.
const MAX_PARTS: usize = 1500;
/// Deepest nesting of brackets.
const MAX_DEPTH: usize = 64;
/// For reading: 8 KiB take milliseconds.
const DEADLINE: Duration = Duration::from_secs(2);
const SHOWN: usize = 200;

/// Why a query was not accepted.
pub(super) enum Refused {
    /// The query is at fault; the text says how.
    Query(String),
    /// The query was not read at all.
    Busy,
}

/// Checks an instant query.
///
/// # Errors
/// What is wrong, in one line.
pub(super) fn check(query: &str) -> Result<(), Refused> {
    read(query, |expr| kind_is_instant(expr.value_type()))
}

/// Checks a selector of raw counters: nothing is applied to its series.
///
/// # Errors
/// What is wrong, in one line.
pub(super) fn check_selector(query: &str) -> Result<(), Refused> {
    read(query, |expr| match expr {
        Expr::VectorSelector(selector) if selector.offset.is_none() && selector.at.is_none() => Ok(()),
        Expr::VectorSelector(_) => Err("offset and @ are not allowed: it is measured as time goes on"),
        _ => Err(
            "it must be a selector of raw counters, such as http_requests_total{service=\"{{arm.service}}\"}: functions, sums and \
             ranges hide when each series began and was reset",
        ),
    })
}

fn read(query: &str, check: fn(&Expr) -> Result<(), &'static str>) -> Result<(), Refused> {
    bounded(query).map_err(Refused::Query)?;
    let code = query.to_owned();
    // The tree is dropped in there too: that recurses as deep as reading does.
    let read = sandbox::run(DEADLINE, move || promql_parser::parser::parse(&code).map(|expr| check(&expr)));
    match read {
        Err(Stopped::Busy) => Err(Refused::Busy),
        Err(stopped) => Err(Refused::Query(format!("it is not PromQL: {stopped}"))),
        Ok(Err(error)) => Err(Refused::Query(format!("it is not PromQL: {}", clean(error.trim(), SHOWN)))),
        Ok(Ok(checked)) => checked.map_err(|problem| Refused::Query(problem.to_owned())),
    }
}

/// A range vector or a string can never be a measurement.
fn kind_is_instant(kind: ValueType) -> Result<(), &'static str> {
    match kind {
        ValueType::Vector | ValueType::Scalar => Ok(()),
        ValueType::Matrix => Err("it gives a range vector; wrap it in a function such as rate(...)"),
        ValueType::String => Err("it gives a string; a number is needed"),
    }
}

/// Counts signs and words outside of literals, whose contents do not make the tree deeper.
fn bounded(query: &str) -> Result<(), String> {
    let mut quote = None;
    let (mut escaped, mut in_word) = (false, false);
    let (mut depth, mut parts) = (0_usize, 0_usize);
    for c in query.chars() {
        let word = quote.is_none() && (c.is_alphanumeric() || c == '_');
        match (quote, c) {
            (Some(_), _) if escaped => escaped = false,
            (Some('"' | '\''), '\\') => escaped = true,
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'' | '`') => quote = Some(c),
            (None, '(' | '[' | '{') => (depth, parts) = (depth + 1, parts + 1),
            (None, ')' | ']' | '}') => depth = depth.saturating_sub(1),
            (None, _) if word => parts += usize::from(!in_word),
            (None, c) => parts += usize::from(!c.is_whitespace()),
        }
        in_word = word;
        if depth > MAX_DEPTH {
            return Err(format!("it nests brackets more than {MAX_DEPTH} deep"));
        }
    }
    if parts > MAX_PARTS {
        return Err(format!("it has {parts} words and signs; at most {MAX_PARTS} are allowed"));
    }
    Ok(())
}
