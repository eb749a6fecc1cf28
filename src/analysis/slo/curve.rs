//! The evidence over time, thinned so that a day of it fits a screen. Which points there are depends on the rounds alone, so a
//! restart draws the same curve.

/// Most points.
const MOST: usize = 64;

/// Points in the order of time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Curve {
    /// A point for each so many rounds.
    every: u64,
    /// Seconds since the begin, and the evidence as text.
    points: Vec<(i64, String)>,
}

impl Curve {
    /// What [`Self::to_text`] wrote; an empty curve for anything else.
    pub(super) fn read(text: &str) -> Self {
        let empty = Self { every: 1, points: Vec::new() };
        let mut words = text.split(' ');
        let Some(every) = words.next().and_then(|word| word.parse().ok()).filter(|every| *every > 0) else { return empty };
        let mut points = Vec::new();
        while let (Some(at), Some(evidence)) = (words.next(), words.next()) {
            let Ok(at) = at.parse() else { return empty };
            points.push((at, evidence.to_owned()));
        }
        if points.len() > MOST { empty } else { Self { every, points } }
    }

    pub(super) fn to_text(&self) -> String {
        let mut out = self.every.to_string();
        for (at, evidence) in &self.points {
            out.push_str(&format!(" {at} {evidence}"));
        }
        out
    }

    /// Takes in the evidence after the round with this number, from 1.
    pub(super) fn add(&mut self, round: u64, at: i64, evidence: &str) {
        if !round.is_multiple_of(self.every) {
            return;
        }
        if self.points.len() == MOST {
            // The points of every second one of these rounds stay.
            let mut index = 0;
            self.points.retain(|_| {
                index += 1;
                index % 2 == 0
            });
            self.every *= 2;
            if !round.is_multiple_of(self.every) {
                return;
            }
        }
        self.points.push((at, evidence.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Protects: status from growing with time, and curves from depending on when somebody looked.
    #[test]
    fn a_day_is_as_long_as_a_minute() {
        let mut curve = Curve::read("");
        for round in 1..=20_000 {
            curve = Curve::read(&curve.to_text());
            curve.add(round, round as i64 * 5, "0.123");
        }
        assert!((MOST / 2..=MOST).contains(&curve.points.len()), "{}", curve.points.len());
        assert!(curve.points.iter().all(|(at, _)| at % (5 * curve.every as i64) == 0), "{curve:?}");
        let gaps: Vec<i64> = curve.points.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
        assert!(gaps.iter().all(|gap| *gap == 5 * curve.every as i64), "even: {gaps:?}");
        assert!(curve.to_text().len() < 1024);
    }

    /// Protects: evidence from curves that somebody wrote by hand.
    #[test]
    fn what_cannot_be_read_is_empty() {
        for text in ["", "x", "0 1 2", "1 a b", "-1"] {
            assert_eq!(Curve::read(text), Curve::read(""), "{text}");
        }
        assert_eq!(Curve::read("2 5 0.1 10 0.2").points.len(), 2);
    }
}
