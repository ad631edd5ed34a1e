//! What may be asked over the wire: a service each for clients, agents, peers and newcomers.
//!
//! [`api`], [`cluster`] and [`backup`] hold the records that clients send and get, [`join`] those
//! of newcomers, [`vouched`] and [`kept`] those of control processes among themselves, [`service`]
//! the methods. [`server`] answers them in the control process, after the [`porter`] has said who
//! may, by what [`fresh`] tells of people; [`agent_link`] calls them in an agent, and [`peer_link`]
//! in another control process. What clients call them with is [`crate::client`], and what newcomers
//! do is [`crate::identity`].

pub mod agent_link;
pub mod api;
pub mod backup;
pub mod client_door;
pub mod cluster;
pub mod fresh;
#[cfg(test)]
mod golden;
pub mod join;
pub mod kept;
pub mod link;
pub mod peer_door;
pub mod peer_link;
pub mod porter;
#[cfg(test)]
mod ranks;
pub mod server;
pub mod service;
pub mod vouched;
