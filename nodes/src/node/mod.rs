//! A node's processes: a small supervisor, and below it control and agent, each a process of its
//! own.
//!
//! ```text
//! otto ──socket──▶ otto-node              holds lock and listening socket, restarts the others
//!                    ├── otto-control     takes connections; shards, journals, actors
//!                    └── otto-agent       calls control like anybody else
//!                          └── otto-launcher …
//! ```
//!
//! All of them are one executable image under other names. The supervisor holds the listening
//! socket, so that a connection made while control restarts just waits; each child holds one end of
//! a socket to the supervisor, and leaves when that ends. So nothing has to be stopped in order:
//! killing the supervisor ends the node, and the next one takes over what is on disk.

mod agent;
mod audience;
mod backup;
pub mod build;
mod census;
mod child;
mod command;
mod control;
mod identity;
mod join;
mod lock;
mod main;
mod member;
pub mod place;
mod process;
mod report;
mod residence;
mod serve;
mod start;
pub mod system;
mod token;
mod trace;
pub mod trouble;
pub mod unix;
mod ways;

pub use main::main;
pub use start::{LocalNode, idle_time, local_client};
