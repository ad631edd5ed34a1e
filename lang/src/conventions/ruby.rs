//! Ruby projects with a Gemfile, Rails among them.

use super::{Convention, Inferred, Listing};

const TOOLS: [&str; 2] = ["ruby", "bundle"];
const INSTALL: [&str; 2] = ["bundle config set --local path vendor/bundle", "bundle install"];

pub(super) fn recognise(listing: &Listing) -> Option<Convention> {
    let gems = listing.content("Gemfile")?;
    let mut reasons = Vec::new();
    let mut stages = Vec::new();
    let mut stage = |name: &str, run: &str, why: &str| {
        let scripts: Vec<&str> = INSTALL.into_iter().chain([run]).collect();
        stages.push(Inferred::new(name, &TOOLS, &scripts));
        reasons.push(format!("{why}: {run}"));
    };
    if gems.contains("rubocop") {
        stage("lint", "bundle exec rubocop", "rubocop in Gemfile");
    }
    if listing.has("bin/rails") && listing.has("test/") {
        stage("test", "bin/rails test", "bin/rails and test/");
    } else if gems.contains("rspec") || listing.has(".rspec") {
        stage("test", "bundle exec rspec", "rspec");
    } else if listing.has("Rakefile") {
        stage("test", "bundle exec rake", "Rakefile");
    }
    if stages.is_empty() {
        reasons.push("no rubocop, rspec, Rails tests or Rakefile: gems are installed".to_owned());
        stages.push(Inferred::new("install", &TOOLS, &INSTALL));
    }
    Some(Convention { name: "ruby", found: "Gemfile".to_owned(), stages, reasons })
}
