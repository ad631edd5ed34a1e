//! The store: what a node keeps on disk, in two files.
//!
//! ```text
//!     append ──▶ log.redb    all shards' logs, one sync for all that wait
//!     apply  ──▶ state.redb  journals, heads, wake index; settled about once a second
//! ```
//!
//! `log` holds what is agreed; `state` is what it came to. A crash takes away what of `state` was
//! not settled, and it is applied again. So an acknowledgement costs one sync, and opening scans
//! nothing.
//!
//! The store knows shards, bytes and versions. It never knows an event, an actor, or how shards are
//! replicated.

mod apply;
mod base;
mod disk;
mod executor;
mod fault;
mod log;
mod open;
mod read;
mod spaces;
mod state;

pub use disk::{Disk, Folder, StoreFile};
pub use executor::{Executor, Threads, Writer};
pub use fault::Fault;
pub use open::{FORMAT, OpenError};

pub(crate) use fault::Health;
pub(crate) use log::{Log, LogChange, Slot};
pub(crate) use open::{Store, StoreConfig};
pub(crate) use spaces::{Rows, Taken};
pub(crate) use state::{Arrival, Batch, Picture, State};
