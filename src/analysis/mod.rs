//! Conditions on measurements, and the verdict they add up to.
