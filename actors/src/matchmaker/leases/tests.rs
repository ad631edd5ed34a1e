//! The lease table, word by word.
