//! Which objects Git wants, in which order they are applied, and what is left to prune.
//!
//! ```text
//! objects --project--> allowed --own--> marked --merge--> with live weights and selectors --diff--> changed?
//!    |                                                                                       |
//!    +--inventory--> what left Git --order--> prune, last of all          order--> apply, first things first
//! live objects --health--> state --> Application.status
//! ```
//! Everything here is pure but [`client`], which carries it out.

pub mod client;
pub mod commit;
pub mod diff;
pub mod health;
pub mod inventory;
pub mod merge;
pub mod order;
pub mod own;
pub mod prepare;
pub mod project;
pub mod state;

#[cfg(test)]
mod tests;
