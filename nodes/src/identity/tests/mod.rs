//! Identities over real sockets.

mod callers;
mod folder;
mod joining;
mod texts;
mod town;
