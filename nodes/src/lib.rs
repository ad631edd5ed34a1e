//! Otto's processes: what implements the ports of the actors, and the wire between them.
//!
//! [`wire`] frames and greets, [`rpc`] says what may be asked over it, [`client`] asks it.
//! [`agent`] runs stages through the [`launcher`] and its stage processes.
//! [`identity`] says who is who between machines: certificates, tokens, TLS.
//! [`store`] keeps what is durable, [`replica`] agrees on it and offers it as journals, [`backup`]
//! copies all of it.
//!
//! This crate never holds policy: what happens to a run is decided in `otto-core`.

pub mod agent;
pub mod backup;
pub mod client;
pub mod commands;
pub mod control;
pub mod identity;
pub mod launcher;
pub mod logs;
pub mod network;
pub mod node;
pub mod objects;
pub mod replica;
pub mod rpc;
pub mod store;
pub mod wire;
