//! Go modules.

use super::{Convention, Inferred, Listing};

pub(super) fn recognise(listing: &Listing) -> Option<Convention> {
    listing.content("go.mod")?;
    let stage = |name: &str, script: &str| Inferred::new(name, &["go"], &[script]);
    Some(Convention {
        name: "go",
        found: "go.mod".to_owned(),
        stages: vec![
            stage("vet", "go vet ./..."),
            stage("test", "go test ./..."),
            stage("build", "go build ./..."),
        ],
        reasons: Vec::new(),
    })
}
