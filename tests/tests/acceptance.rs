//! Sessions at the command line, through the real programs: real node, real sockets, real steps.

mod acceptance {
    mod first_minutes;
    mod inference;
    mod language;
    mod runs;
    mod session;
    mod settings;
}
