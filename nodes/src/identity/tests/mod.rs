//! Identities over real sockets.

mod callers;
mod folder;
mod joining;
mod people;
mod texts;
mod town;
