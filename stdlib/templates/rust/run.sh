#!/bin/sh
# Builds the step where it is not built yet, and becomes it.
exec cargo run --quiet --release --manifest-path "$(dirname "$0")/Cargo.toml" -- "$@"
