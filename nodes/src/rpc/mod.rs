//! What may be asked over the wire: one service for clients, one for agents.
//!
//! [`api`] holds the records that clients send and get, [`service`] the methods of both services.
//! [`server`] answers them in the control process; [`agent_link`] calls them in an agent. What
//! clients call them with is [`crate::client`].

pub mod agent_link;
pub mod api;
#[cfg(test)]
mod golden;
pub mod link;
pub mod server;
pub mod service;
