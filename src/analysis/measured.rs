//! What a provider hands to the life cycle: numbers, or a reason why there are none.

use jiff::Timestamp;

use super::text;

/// How many values of a vector a measurement's text shows.
const SHOWN_VALUES: usize = 10;

/// The numbers of one answer.
#[derive(Clone, Debug, PartialEq)]
pub enum QueryResult {
    /// One number; in a condition, `result` is that number.
    Scalar(f64),
    /// One number per series, in the server's order; in a condition, `result` is a list.
    Vector(Vec<f64>),
}

impl QueryResult {
    /// The numbers, one for a scalar.
    #[must_use]
    pub fn values(&self) -> &[f64] {
        match self {
            Self::Scalar(value) => std::slice::from_ref(value),
            Self::Vector(values) => values,
        }
    }

    /// For status: `0.993` or `[0.993]`; of a long vector the first ten and how many more.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Scalar(value) => text::number(*value),
            Self::Vector(values) => {
                let mut shown: Vec<String> = values.iter().take(SHOWN_VALUES).map(|v| text::number(*v)).collect();
                if values.len() > SHOWN_VALUES {
                    shown.push(format!("{} more", values.len() - SHOWN_VALUES));
                }
                format!("[{}]", shown.join(", "))
            }
        }
    }
}

/// Outcome of one query.
#[derive(Clone, Debug, PartialEq)]
pub enum Measured {
    /// The server answered with numbers. They may still be unusable (NaN): [`super::run::record`] judges that.
    Value {
        /// The numbers.
        result: QueryResult,
        /// Warnings of the server, cleaned and capped, for logs. Status gets only their count: they are text of a
        /// response body.
        warnings: Vec<String>,
    },
    /// The server answered, and has nothing: an empty vector. The text says so; it holds no host and no part of a body.
    NoData(String),
    /// Samples of an SLO.
    Samples(Box<super::slo::Gathered>),
    /// What a step's run sees of the evidence on an SLO.
    Look(Look),
    /// No answer, or not one that can be read. The text says what happened; it holds no host and no part of a body.
    Error(String),
}

/// What the run of a step sees of the evidence on an SLO.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// The canary is good beyond doubt at the present weight.
    pub accepted: bool,
    /// Why there are no values at present.
    pub error: Option<String>,
    /// What is known.
    pub message: String,
}

/// One measurement as it was taken.
#[derive(Clone, Debug, PartialEq)]
pub struct Taken {
    /// Index of the metric in the run's spec.
    pub metric: usize,
    /// When the query was sent.
    pub started_at: Timestamp,
    /// When the answer was there.
    pub finished_at: Timestamp,
    /// What came back.
    pub outcome: Measured,
}
