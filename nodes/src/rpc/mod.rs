//! What may be asked over the wire: one service for clients, one for agents.
//!
//! [`api`] holds the records that clients send and get, [`service`] the methods of both services.

pub mod api;
pub mod service;
