//! Who reads what a node says of its start.

use super::place::Place;
use super::report::Report;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write};

/// Who it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Audience {
    /// Somebody at a terminal.
    Person,
    /// The process that started it.
    Starter,
}

/// What a person is told of a node of a cluster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Greeting {
    pub(super) node: String,
    pub(super) address: String,
    pub(super) token: Option<String>,
}

impl Audience {
    /// Keeps for whom the node was started: for a command that asks for it again when it has died,
    /// or for a person.
    pub(super) fn mark(self, place: &Place) -> io::Result<()> {
        match self {
            Self::Starter => fs::write(place.on_demand(), ""),
            Self::Person => match fs::remove_file(place.on_demand()) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                Ok(()) | Err(_) => Ok(()),
            },
        }
    }

    /// Tells what keeps the node from working, or a starter how far it is.
    pub(super) fn tell(self, report: &Report) {
        let told = match (self, report) {
            (Self::Starter, report) => report.send(&mut io::stdout()),
            (Self::Person, Report::Trouble(refused) | Report::Outcast(refused)) => {
                io::stderr().write_all(refused.text().as_bytes())
            }
            (
                Self::Person,
                Report::Listening
                | Report::Taken
                | Report::Greeting { .. }
                | Report::Ready
                | Report::Leave
                | Report::Successor { .. },
            ) => Ok(()),
        };
        if let Err(error) = told {
            tracing::debug!(%error, "nobody listens any more");
        }
    }

    /// Tells that the node works.
    pub(super) fn greet(self, place: &Place, greeting: Option<&Greeting>) {
        self.tell(&Report::Ready);
        let text = match (self, greeting) {
            (Self::Starter, _) => return,
            (Self::Person, None) => format!("node ready   {}\n", place.socket().display()),
            (Self::Person, Some(greeting)) => greeting.text(),
        };
        if let Err(error) = io::stdout().write_all(text.as_bytes()) {
            tracing::debug!(%error, "nobody reads standard output");
        }
    }
}

impl Greeting {
    fn text(&self) -> String {
        let Self { node, address, token } = self;
        if address.is_empty() {
            return format!("{node} ready\n");
        }
        let mut text = format!("node {node} ready   {address}\n");
        if let Some(token) = token {
            text.push_str("add a node (valid 1h):\n");
            // Writing to a string cannot fail.
            writeln!(text, "    otto-node join {address} --token {token}").ok();
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::Greeting;

    #[test]
    fn a_greeting_says_how_the_cluster_grows() {
        let greeting = |address: &str, token: Option<&str>| {
            let (address, token) = (address.to_owned(), token.map(ToOwned::to_owned));
            Greeting { node: "n1".to_owned(), address, token }.text()
        };
        let founded = "\
node n1 ready   10.0.0.5:7301
add a node (valid 1h):
    otto-node join 10.0.0.5:7301 --token OT1-A
";
        assert_eq!(greeting("10.0.0.5:7301", Some("OT1-A")), founded);
        assert_eq!(greeting("10.0.0.5:7301", None), "node n1 ready   10.0.0.5:7301\n");
        assert_eq!(greeting("", None), "n1 ready\n");
    }
}
