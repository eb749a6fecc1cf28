//! Shares as people write them: `1%`, `0.05%`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// What the API server lets through.
const PATTERN: &str = r"^(100(\.0{1,6})?|[0-9]{1,2}(\.[0-9]{1,6})?)%$";
/// Digits after the point.
const DIGITS: usize = 6;

/// A share of 0 to 100 percent in steps of a millionth of a percent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent {
    /// In millionths of a percent.
    millionths: u32,
}

impl Percent {
    /// Whole percent, at most 100.
    #[must_use]
    pub const fn whole(percent: u32) -> Self {
        let percent = if percent > 100 { 100 } else { percent };
        Self { millionths: percent * 1_000_000 }
    }

    /// As a ratio, 0 to 1.
    #[must_use]
    pub fn ratio(self) -> f64 {
        f64::from(self.millionths) / 1e8
    }
}

/// Why a text is not a [`Percent`].
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("'{0}' is not a percentage; write for example 1% or 0.05%, at most 100% and six digits after the point")]
pub struct PercentError(String);

impl FromStr for Percent {
    type Err = PercentError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || PercentError(text.chars().filter(|c| !c.is_control()).take(40).collect());
        let number = text.strip_suffix('%').ok_or_else(refused)?;
        let (whole, fraction) = number.split_once('.').map_or((number, None), |(whole, fraction)| (whole, Some(fraction)));
        let digits = |text: &str, most: usize| (1..=most).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole, 3) || fraction.is_some_and(|fraction| !digits(fraction, DIGITS)) {
            return Err(refused());
        }
        let parts = format!("{whole}{:0<DIGITS$}", fraction.unwrap_or(""));
        let millionths: u32 = parts.parse().map_err(|_| refused())?;
        if millionths > Self::whole(100).millionths { Err(refused()) } else { Ok(Self { millionths }) }
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, fraction) = (self.millionths / 1_000_000, self.millionths % 1_000_000);
        if fraction == 0 {
            return write!(f, "{whole}%");
        }
        let fraction = format!("{fraction:0>DIGITS$}");
        write!(f, "{whole}.{}%", fraction.trim_end_matches('0'))
    }
}

impl Serialize for Percent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Percent {
    fn schema_name() -> Cow<'static, str> {
        "Percent".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "maxLength": 11, "pattern": PATTERN})
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    /// Protects: budgets. A digit that is read at another place is another budget.
    #[rstest]
    #[case("1%", 0.01, "1%")]
    #[case("0.05%", 0.0005, "0.05%")]
    #[case("99.999%", 0.99999, "99.999%")]
    #[case("100%", 1.0, "100%")]
    #[case("05.500%", 0.055, "5.5%")]
    #[case("0.000001%", 1e-8, "0.000001%")]
    fn read(#[case] text: &str, #[case] ratio: f64, #[case] written: &str) {
        let percent: Percent = text.parse().unwrap();
        assert!((percent.ratio() - ratio).abs() < 1e-12, "{}", percent.ratio());
        assert_eq!(percent.to_string(), written);
        assert_eq!(written.parse(), Ok(percent));
    }

    /// Protects: users from a budget that means something else than they wrote.
    #[rstest]
    #[case("1")]
    #[case("0.01")]
    #[case("101%")]
    #[case("100.000001%")]
    #[case("-1%")]
    #[case("1.%")]
    #[case(".5%")]
    #[case("1.0000001%")]
    #[case("1 %")]
    #[case("%")]
    #[case("")]
    fn refused(#[case] text: &str) {
        assert!(text.parse::<Percent>().is_err());
    }
}
