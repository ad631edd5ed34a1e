//! Maven and Gradle projects, by their wrapper where they have one.

use super::{Convention, Inferred, Listing};

pub(super) fn recognise_maven(listing: &Listing) -> Option<Convention> {
    listing.content("pom.xml")?;
    let (tools, command, reason) = wrapped(listing, "mvnw", &["java", "mvn"], "mvn");
    let run = format!("{command} --batch-mode verify");
    Some(Convention {
        name: "maven",
        found: "pom.xml".to_owned(),
        stages: vec![Inferred::new("verify", &tools, &[&run])],
        reasons: reason.into_iter().collect(),
    })
}

pub(super) fn recognise_gradle(listing: &Listing) -> Option<Convention> {
    let files = ["build.gradle", "build.gradle.kts", "settings.gradle", "settings.gradle.kts"];
    let found = listing.first(&files)?;
    let (tools, command, reason) = wrapped(listing, "gradlew", &["java", "gradle"], "gradle");
    // A daemon would outlive its step, and nobody would use it again.
    let run = format!("{command} --no-daemon build");
    Some(Convention {
        name: "gradle",
        found: found.to_owned(),
        stages: vec![Inferred::new("build", &tools, &[&run])],
        reasons: reason.into_iter().collect(),
    })
}

/// The tools and the command: the repository's wrapper, or the machine's own program.
fn wrapped(
    listing: &Listing,
    wrapper: &str,
    without: &[&'static str],
    program: &str,
) -> (Vec<&'static str>, String, Option<String>) {
    if listing.has(wrapper) {
        // Through `sh`, because a checkout can lose the bit that makes it a program.
        let reason = format!("{wrapper}: it brings its own {program}");
        (vec!["java"], format!("sh ./{wrapper}"), Some(reason))
    } else {
        (without.to_vec(), program.to_owned(), None)
    }
}
