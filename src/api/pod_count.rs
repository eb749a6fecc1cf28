//! Numbers of pods as Kubernetes writes them: `3`, or percent of the replicas as `"25%"`.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Most pods that may be named.
const MAX_PODS: i32 = 10_000;

/// A number of pods, at most 10000, or percent of `spec.replicas`, at most 100.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodCount {
    /// Pods.
    Pods(i32),
    /// Percent of `spec.replicas`.
    Percent(i32),
}

impl PodCount {
    /// Is this none, whatever the number of replicas?
    #[must_use]
    pub const fn is_zero(self) -> bool {
        matches!(self, Self::Pods(0) | Self::Percent(0))
    }
}

/// Why something is not a [`PodCount`].
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("'{0}' is not a number of pods; write 0 to 10000, or percent of the replicas as \"25%\", at most \"100%\"")]
pub struct PodCountError(String);

impl std::str::FromStr for PodCount {
    type Err = PodCountError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || PodCountError(text.chars().filter(|c| !c.is_control()).take(40).collect());
        let number = |digits: &str, most: i32| {
            let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
            digits.parse::<i32>().ok().filter(|number| plain && *number <= most).ok_or_else(refused)
        };
        match text.strip_suffix('%') {
            Some(digits) => number(digits, 100).map(Self::Percent),
            None => number(text, MAX_PODS).map(Self::Pods),
        }
    }
}

impl fmt::Display for PodCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pods(pods) => write!(f, "{pods}"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

impl Serialize for PodCount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Pods(pods) => serializer.serialize_i32(*pods),
            Self::Percent(_) => serializer.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for PodCount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = PodCount;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of pods such as 3, or percent of the replicas such as \"25%\"")
            }
            fn visit_u64<E: de::Error>(self, pods: u64) -> Result<PodCount, E> {
                pods.to_string().parse().map_err(E::custom)
            }
            fn visit_i64<E: de::Error>(self, pods: i64) -> Result<PodCount, E> {
                pods.to_string().parse().map_err(E::custom)
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<PodCount, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for PodCount {
    fn schema_name() -> Cow<'static, str> {
        "PodCount".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-int-or-string": true,
            "pattern": "^([0-9]|[1-9][0-9]|100)%$",
            "maxLength": 4,
            "minimum": 0,
            "maximum": MAX_PODS,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Protects: what is written reads back as the same value, and in the same form, as other tools read it too.
    #[test]
    fn round_trip() {
        for (json, count) in [("0", PodCount::Pods(0)), ("3", PodCount::Pods(3)), ("\"25%\"", PodCount::Percent(25))] {
            assert_eq!(serde_json::from_str::<PodCount>(json).unwrap(), count);
            assert_eq!(serde_json::to_string(&count).unwrap(), json);
        }
        assert_eq!("7".parse(), Ok(PodCount::Pods(7)), "a number in quotes is understood too");
    }

    /// Protects: nonsense is refused in words, and no number overflows.
    #[test]
    fn refusals() {
        for json in
            ["-1", "10001", "1.5", "\"\"", "\"%\"", "\"101%\"", "\"-5%\"", "\"+5%\"", "\"5 %\"", "\"99999999999\"", "99999999999"]
        {
            assert!(serde_json::from_str::<PodCount>(json).is_err(), "{json}");
        }
        let error = "101%".parse::<PodCount>().unwrap_err().to_string();
        assert_eq!(
            error,
            "'101%' is not a number of pods; write 0 to 10000, or percent of the replicas as \"25%\", at most \"100%\""
        );
    }
}
