//! The language from outside: cases as files, every rule's page, the reference, hostile input, and
//! how the time grows.

mod cases;
mod checks;
mod documents;
mod hostile;
mod readable;
mod speed;
mod surroundings;
