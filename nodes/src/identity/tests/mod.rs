//! Identities over real sockets.
