//! Conditions over `result`, in the expr language that Argo Rollouts uses, behind a guard.
//!
//! ```text
//! text --guard (tokens: size, operators, nesting, an allow-list)--> Shape
//!      --expr-lang, in the sandbox--> program --one probe: does it give true or false?--> Condition
//! ```
//!
//! A condition is anybody's text. The guard lets only such text through whose evaluation takes time in proportion to
//! its length times the number of series, and in which no NaN can arise from usable numbers (a NaN compares false
//! with everything, and would turn missing data into a failure). The sandbox is the second wall.

mod functions;
mod guard;

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use expr::{Context, Environment, Program, Value};

use super::measured::QueryResult;
use super::sandbox::{self, Stopped};
use super::text;

use guard::Shape;

/// Longest condition, in bytes.
pub const MAX_BYTES: usize = 1024;
/// Most operators in a condition, counted as tokens.
pub const MAX_OPERATORS: usize = 64;
/// Deepest nesting of brackets.
pub const MAX_DEPTH: usize = 16;
/// Most series that a condition is evaluated over.
pub const MAX_SERIES: usize = 1000;

/// A measurement does not wait longer than this for its condition.
const EVALUATION: Duration = Duration::from_millis(50);
/// A refusal at parse time stays; so a busy machine gets more time than an evaluation, which is repeated.
const PARSING: Duration = Duration::from_secs(2);
/// Longest piece of somebody's text in an error, in characters.
const SHOWN: usize = 160;

static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(functions::environment);

/// Why a text is not a condition. Each says what was found and what is allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConditionError {
    /// Nothing but white space.
    #[error("the condition is empty; write for example result[0] >= 0.99")]
    Empty,
    /// More than [`MAX_BYTES`].
    #[error("the condition has {found} bytes; at most {MAX_BYTES} are allowed")]
    TooLong {
        /// Its size in bytes.
        found: usize,
    },
    /// More than [`MAX_OPERATORS`].
    #[error("the condition has {found} operators; at most {MAX_OPERATORS} are allowed")]
    TooManyOperators {
        /// How many there are.
        found: usize,
    },
    /// Deeper than [`MAX_DEPTH`].
    #[error("the condition nests brackets {found} deep; at most {MAX_DEPTH} are allowed")]
    TooDeep {
        /// How deep, as far as it was read.
        found: usize,
    },
    /// A part of the language, or of something else, that conditions do not have.
    #[error("'{found}' at position {at} is not allowed in a condition: {allowed}")]
    NotAllowed {
        /// The word or sign.
        found: String,
        /// Where, in characters from 1.
        at: usize,
        /// What may stand there.
        allowed: String,
    },
    /// Not an expression.
    #[error("the condition is not an expression: {0}")]
    Syntax(String),
    /// An expression that gives no truth value.
    #[error("the condition gives {0} and not true or false; compare it, for example result[0] >= 0.99")]
    NotBoolean(String),
    /// Nothing is wrong with the text as far as we know; the machine was too busy to read it. Worth another try.
    #[error("failed to read the condition: {0}")]
    Unread(String),
}

/// A condition that was read and is safe to evaluate.
#[derive(Clone, Debug)]
pub struct Condition {
    text: String,
    shape: Shape,
    program: Arc<Program>,
}

impl PartialEq for Condition {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Condition {
    /// Reads `text`: at most [`MAX_BYTES`], [`MAX_OPERATORS`] and [`MAX_DEPTH`], only numbers, `result`, `#` in
    /// predicates, comparisons, `and or not && || !`, `+ - * /` (division by a number or `len(result)`), and the
    /// functions that the refusal of an unknown one lists.
    ///
    /// # Errors
    /// See [`ConditionError`].
    pub fn parse(text: &str) -> Result<Self, ConditionError> {
        let shape = guard::check(text)?;
        let code = text.to_owned();
        let compiled = sandbox::run(PARSING, move || {
            expr::compile(&code).map(|program| {
                let probe = probe(&program, shape);
                (Arc::new(program), probe)
            })
        });
        let (program, probe) = match compiled {
            Err(stopped) => return Err(ConditionError::Unread(stopped.to_string())),
            Ok(Err(error)) => return Err(ConditionError::Syntax(syntax(&error))),
            Ok(Ok(compiled)) => compiled,
        };
        match probe {
            Ok(Value::Bool(_)) => Ok(Self { text: text.to_owned(), shape, program }),
            Ok(other) => Err(ConditionError::NotBoolean(kind(&other).to_owned())),
            Err(error) => Err(ConditionError::Syntax(error)),
        }
    }

    /// The text as it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Is the condition met? `result` is a list for a vector and a number for a scalar.
    ///
    /// # Errors
    /// A sentence for status when that cannot be said: no values, NaN, a vector of several series that the condition
    /// reads as one number, a shape it was not written for, or an evaluation that twice took longer than 50 ms.
    pub fn evaluate(&self, result: &QueryResult) -> Result<bool, String> {
        self.shape.fits(result)?;
        let once = || {
            let program = Arc::clone(&self.program);
            let value = value(result);
            sandbox::run(EVALUATION, move || run(&program, value))
        };
        // What the guard lets through takes microseconds to a few milliseconds: late means that the machine is busy.
        let outcome = match once() {
            Err(Stopped::Late) => once(),
            outcome => outcome,
        };
        match outcome {
            Err(stopped) => Err(format!("failed to evaluate the condition: {stopped}")),
            Ok(Err(error)) => Err(format!("failed to evaluate the condition: {error}")),
            Ok(Ok(Value::Bool(met))) => Ok(met),
            Ok(Ok(other)) => Err(format!("the condition gave {} and not true or false", kind(&other))),
        }
    }
}

/// Runs the program once over a harmless value, so that mistakes in types are found before a canary depends on it.
fn probe(program: &Program, shape: Shape) -> Result<Value, String> {
    let sample = if shape.wants_list() { QueryResult::Vector(vec![0.5]) } else { QueryResult::Scalar(0.5) };
    run(program, value(&sample))
}

fn run(program: &Program, result: Value) -> Result<Value, String> {
    let mut context = Context::default();
    context.insert("result", result);
    ENVIRONMENT.run(program, &context).map_err(|error| text::clean(&error.to_string(), SHOWN))
}

fn value(result: &QueryResult) -> Value {
    match result {
        QueryResult::Scalar(value) => Value::Float(*value),
        QueryResult::Vector(values) => Value::Array(values.iter().map(|v| Value::Float(*v)).collect()),
    }
}

/// Where reading stopped. The parser's own message draws a picture over several lines; a status has one.
fn syntax(error: &expr::Error) -> String {
    let message = error.to_string();
    let place = message.trim_start().strip_prefix("--> ").and_then(|rest| rest.split_whitespace().next());
    match place.and_then(|place| place.split_once(':')) {
        Some((line, column)) => format!("reading stopped at line {line}, column {column}"),
        None => text::clean(&message, SHOWN),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Bool(_) => "true or false",
        Value::Integer(_) | Value::Float(_) => "a number",
        Value::Array(_) => "a list",
        Value::Nil => "nothing",
        _ => "something else",
    }
}

#[cfg(test)]
mod tests;
