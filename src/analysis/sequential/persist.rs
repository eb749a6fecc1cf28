//! A test as text and back, exactly: the numbers in their shortest form that reads back as the same number.

use super::super::text;
use super::accept::Accept;
use super::dispersion::Running;
use super::excess::Excess;
use super::outage::Outage;
use super::{Counts, Test};

/// Begins every text; another form gets another number.
const FORM: &str = "1";

impl Test {
    /// The state as text, less than 1.5 KB: a number of the form, then numbers with spaces between.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut out = FORM.to_owned();
        for number in self.numbers() {
            out.push(' ');
            out.push_str(&text::number(number));
        }
        out
    }

    /// Reads what [`Self::to_text`] wrote; none for anything else.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        let (form, rest) = text.split_once(' ')?;
        let numbers: Vec<f64> = rest.split(' ').map(|number| number.parse().ok()).collect::<Option<_>>()?;
        let usable = form == FORM && numbers.iter().all(|number| number.is_finite());
        let mut numbers = numbers.into_iter();
        let test = read(&mut numbers)?;
        (usable && numbers.next().is_none()).then_some(test)
    }

    fn numbers(&self) -> Vec<f64> {
        // No `..`: a field that is left out would be forgotten by every restart.
        let Self { seconds, rounds, excess, recent, outage, accept, running, total } = self;
        let Excess { ln_w, ln_m } = excess;
        let Outage { ln_w: outage_w, ln_m: outage_m, on } = outage;
        let Accept { ln_w: accept_w, total: at_weight, whole, met } = accept;
        let Running { rounds: run, errors, squares, requests } = running;
        let counts = |counts: &[Counts; 2]| counts.iter().flat_map(|c| [c.requests, c.errors]).collect::<Vec<_>>();
        let flag = |on: &bool| f64::from(u8::from(*on));
        let mut all = vec![*seconds, *rounds];
        all.extend(ln_w);
        all.push(*ln_m);
        all.extend(recent);
        all.extend(outage_w.iter().flatten());
        all.extend(outage_m);
        all.push(flag(on));
        all.extend(accept_w);
        all.extend(counts(at_weight));
        all.extend([*whole, flag(met), *run, *errors, *squares, *requests]);
        all.extend(counts(total));
        all
    }
}

/// The order of [`Test::numbers`].
fn read(from: &mut impl Iterator<Item = f64>) -> Option<Test> {
    Some(Test {
        seconds: from.next()?,
        rounds: from.next()?,
        excess: Excess { ln_w: some(from)?, ln_m: from.next()? },
        recent: some(from)?,
        outage: Outage { ln_w: [some(from)?, some(from)?], ln_m: some(from)?, on: flag(from)? },
        accept: Accept { ln_w: some(from)?, total: counts(from)?, whole: from.next()?, met: flag(from)? },
        running: Running { rounds: from.next()?, errors: from.next()?, squares: from.next()?, requests: from.next()? },
        total: counts(from)?,
    })
}

fn some<const N: usize>(from: &mut impl Iterator<Item = f64>) -> Option<[f64; N]> {
    let mut all = [0.0; N];
    for one in &mut all {
        *one = from.next()?;
    }
    Some(all)
}

fn counts(from: &mut impl Iterator<Item = f64>) -> Option<[Counts; 2]> {
    let [a, b, c, d] = some(from)?;
    Some([Counts { requests: a, errors: b }, Counts { requests: c, errors: d }])
}

fn flag(from: &mut impl Iterator<Item = f64>) -> Option<bool> {
    match from.next()? {
        0.0 => Some(false),
        1.0 => Some(true),
        _ => None,
    }
}
