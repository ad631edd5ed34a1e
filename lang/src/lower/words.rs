//! The words of the language, by the block that knows them.

/// At the top of a file.
pub(crate) const FILE: &[&str] =
    &["use", "configure", "parameters", "environments", "triggers", "concurrency", "pipeline"];
/// In `pipeline`.
pub(super) const PIPELINE: &[&str] = &[
    "stage", "steps", "stages", "parallel", "fanout", "choose", "each", "settings", "runtime",
    "timeout", "notify", "from",
];
/// In a stage.
pub(crate) const STAGE: &[&str] = &[
    "name",
    "when",
    "needs",
    "runtime",
    "environment",
    "settings",
    "checkout",
    "outputs",
    "steps",
    "finally",
    "timeout",
    "queue",
    "retry",
    "gates",
    "cache",
    "services",
    "credentials",
    "rollback",
    "notify",
    "stage",
    "stages",
    "parallel",
    "fanout",
    "choose",
    "each",
];
/// In `parallel`, `fanout`, `each`, and an arm of `choose`.
pub(crate) const GROUP: &[&str] =
    &["stage", "steps", "stages", "parallel", "fanout", "choose", "each"];
/// In `choose`.
pub(super) const CHOOSE: &[&str] = &["when", "otherwise"];
/// In `gates`.
pub(super) const GATES: &[&str] = &["enter", "exit", "from"];
/// In an environment.
pub(super) const ENVIRONMENT: &[&str] =
    &["settings", "after", "lock", "freeze", "approvers", "delivers"];
/// In a parameter.
pub(super) const PARAMETER: &[&str] = &["type", "values", "default", "description"];
/// In `retry`.
pub(super) const RETRY: &[&str] = &["attempts", "on", "backoff"];
/// In `runtime`; any other word names a tool.
pub(super) const RUNTIME: &[&str] = &["cores", "memory", "arch", "os", "any", "from"];

/// Where a word belongs, for one that stands elsewhere.
pub(super) fn home(word: &str) -> Option<&'static str> {
    let homes: [(&[&str], &str); 7] = [
        (FILE, "the file, outside of `pipeline`"),
        (CHOOSE, "`choose { … }`"),
        (&["enter", "exit"], "`gates { … }`"),
        (RETRY, "`retry { … }`"),
        (STAGE, "a stage"),
        (&["cores", "memory", "arch", "os", "any"], "`runtime { … }`"),
        (ENVIRONMENT, "an environment"),
    ];
    homes.iter().find(|(words, _)| words.contains(&word)).map(|(_, home)| *home)
}
