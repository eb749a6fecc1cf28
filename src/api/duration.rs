//! Durations as users of Argo Rollouts and Kubernetes write them: `30s`, `5m`, `1h30m`, or whole seconds as an integer.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// What the API server lets through for a duration written as a string.
const PATTERN: &str = r"^([0-9]+(ms|s|m|h|d))+$|^[0-9]+$";
/// Longest duration: a year. Keeps every sum of timestamps far from overflow.
const MAX: std::time::Duration = std::time::Duration::from_secs(366 * 24 * 3600);

/// A length of time, never negative, at most 366 days. Written `1h30m`; read also as whole seconds (`90`, `"90"`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(std::time::Duration);

impl Duration {
    /// `seconds` as a duration, cut at 366 days.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        let wanted = std::time::Duration::from_secs(seconds);
        if wanted.as_secs() > MAX.as_secs() { Self(MAX) } else { Self(wanted) }
    }

    /// The standard library's form.
    #[must_use]
    pub const fn std(self) -> std::time::Duration {
        self.0
    }
}

/// Why a text is not a [`Duration`].
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("'{0}' is not a duration; write for example 30s, 5m or 1h30m (ms, s, m, h, d; at most 366d), or whole seconds")]
pub struct ParseDurationError(String);

impl FromStr for Duration {
    type Err = ParseDurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || ParseDurationError(text.chars().filter(|c| !c.is_control()).take(40).collect());
        if let Ok(seconds) = text.parse::<u64>() {
            return if seconds <= MAX.as_secs() { Ok(Self::from_secs(seconds)) } else { Err(refused()) };
        }
        let mut rest = text;
        let mut total = std::time::Duration::ZERO;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(refused)?;
            let (number, tail) = rest.split_at(digits);
            let number: u64 = number.parse().map_err(|_| refused())?;
            let unit_end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(unit_end);
            let millis: u64 = match unit {
                "ms" => 1,
                "s" => 1000,
                "m" => 60_000,
                "h" => 3_600_000,
                "d" => 86_400_000,
                _ => return Err(refused()),
            };
            let part = number.checked_mul(millis).map(std::time::Duration::from_millis).ok_or_else(refused)?;
            total = total.checked_add(part).filter(|sum| *sum <= MAX).ok_or_else(refused)?;
            rest = tail;
        }
        if text.is_empty() { Err(refused()) } else { Ok(Self(total)) }
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut millis = self.0.as_millis();
        if millis == 0 {
            return f.write_str("0s");
        }
        for (unit, size) in [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)] {
            if millis >= size {
                write!(f, "{}{unit}", millis / size)?;
                millis %= size;
            }
        }
        Ok(())
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Duration;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as 30s or 5m, or whole seconds")
            }
            fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<Duration, E> {
                seconds.to_string().parse().map_err(E::custom)
            }
            fn visit_i64<E: de::Error>(self, seconds: i64) -> Result<Duration, E> {
                seconds.to_string().parse().map_err(E::custom)
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for Duration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-int-or-string": true,
            "pattern": PATTERN,
            "maxLength": 32,
            "minimum": 0,
            "maximum": MAX.as_secs(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Argo's spellings are understood, and what we write reads back as the same value.
    #[test]
    fn spellings_and_round_trip() {
        for (text, millis, written) in [
            ("30s", 30_000, "30s"),
            ("90", 90_000, "1m30s"),
            ("1h30m", 5_400_000, "1h30m"),
            ("1d", 86_400_000, "24h"),
            ("250ms", 250, "250ms"),
            ("0", 0, "0s"),
        ] {
            let parsed: Duration = text.parse().unwrap();
            assert_eq!(parsed.std().as_millis(), millis, "{text}");
            assert_eq!(parsed.to_string(), written, "{text}");
            assert_eq!(parsed.to_string().parse::<Duration>().unwrap(), parsed, "{text}");
        }
        assert_eq!(serde_json::from_str::<Duration>("45").unwrap(), Duration::from_secs(45));
    }

    /// Nonsense is refused with what was found; nothing overflows.
    #[test]
    fn refusals() {
        for text in ["", "s", "5", "5 m", "-5s", "1.5h", "5w", "m5", "367d", "99999999999999999999h", "18446744073709551615d"] {
            if text == "5" {
                continue; // whole seconds
            }
            let error = text.parse::<Duration>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("'{text}' is not a duration")), "{error}");
        }
        assert!(serde_json::from_str::<Duration>("-1").is_err());
        assert!(serde_json::from_str::<Duration>("1.5").is_err());
    }
}
