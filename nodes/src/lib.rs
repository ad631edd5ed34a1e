//! Otto's processes: what implements the ports of the actors, and the wire between them.
//!
//! [`wire`] frames and greets, [`rpc`] says what may be asked over it, [`client`] asks it.
//!
//! This crate never holds policy: what happens to a run is decided in `otto-core`.

pub mod client;
pub mod logs;
pub mod network;
pub mod objects;
pub mod rpc;
pub mod wire;
