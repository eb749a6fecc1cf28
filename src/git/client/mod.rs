//! The client of Git servers: bare mirrors on this machine, fetched and pushed over HTTP.
//!
//! Everything here blocks; call it from a thread that may (`tokio::task::spawn_blocking`). The data directory belongs to
//! one process. A mirror is a cache: an unusable one is thrown away and made anew.
//!
//! | file | does |
//! |---|---|
//! | `remote` | addresses and credentials |
//! | `http` | one operation's requests, deadlines, faults |
//! | `transport` | libgit2 on top of `http` |
//! | `objects` | commits, trees, merges |
//! | `error` | what went wrong, and what to do |

mod error;
mod http;
mod mirror;
mod objects;
mod push;
mod remote;
mod transport;

pub use error::{FetchError, MirrorError, Next, PushError};
pub use http::Limits;
pub use mirror::{Client, Fetched, Mirror};
pub use objects::GitObjects;
pub use remote::{Access, RemoteError, RemoteUrl};
