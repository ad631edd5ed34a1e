//! Process trees: who descends from whom, and ending all of them even while they fork.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

/// A process as the kernel lists it.
#[derive(Clone, Copy, Debug)]
struct Process {
    parent: i32,
    session: i32,
    /// It has ended, and only waits for its parent to notice.
    ended: bool,
}

/// Which processes are meant, of those that there are.
#[derive(Clone, Debug)]
pub(super) enum Of<'a> {
    /// All descendants of this process but for those at or below the spared ones.
    Below { root: Pid, spared: &'a BTreeSet<i32> },
    /// This process, its descendants, and whatever is in its session.
    Session(Pid),
    /// Whoever was started with this in the environment, and their descendants.
    Environment(&'a [u8]),
}

/// The processes of a tree that have not ended.
pub(super) fn members(of: &Of<'_>) -> BTreeSet<i32> {
    let all = processes();
    let mut found = BTreeSet::new();
    let mut frontier: Vec<i32> = match of {
        Of::Below { root, .. } => vec![root.as_raw()],
        Of::Session(leader) => {
            let inside = |process: &Process| process.session == leader.as_raw();
            all.iter()
                .filter(|(_, p)| inside(p))
                .map(|(pid, _)| *pid)
                .chain([leader.as_raw()])
                .collect()
        }
        Of::Environment(part) => {
            all.keys().copied().filter(|pid| has_in_environment(*pid, part)).collect()
        }
    };
    let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for (pid, process) in &all {
        children.entry(process.parent).or_default().push(*pid);
    }
    let mut seen = BTreeSet::new();
    while let Some(pid) = frontier.pop() {
        if !seen.insert(pid) {
            continue;
        }
        let is_root = matches!(of, Of::Below { root, .. } if root.as_raw() == pid);
        if matches!(of, Of::Below { spared, .. } if spared.contains(&pid)) {
            continue;
        }
        if !is_root && all.get(&pid).is_some_and(|process| !process.ended) {
            found.insert(pid);
        }
        frontier.extend(children.get(&pid).into_iter().flatten());
    }
    found
}

/// Sends a signal to every member of a tree as it is now.
pub(super) fn signal(of: &Of<'_>, signal: Signal) {
    for pid in members(of) {
        kill(Pid::from_raw(pid), signal).ok();
    }
}

/// Kills a tree that may be forking: it is stopped as a whole first, since what is stopped makes no
/// more processes, and killed then.
pub(super) fn end(of: &Of<'_>) {
    let mut stopped = BTreeSet::new();
    loop {
        let fresh: Vec<i32> = members(of).difference(&stopped).copied().collect();
        if fresh.is_empty() {
            break;
        }
        for pid in fresh {
            kill(Pid::from_raw(pid), Signal::SIGSTOP).ok();
            stopped.insert(pid);
        }
    }
    signal(of, Signal::SIGKILL);
}

fn has_in_environment(pid: i32, part: &[u8]) -> bool {
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environment.windows(part.len().max(1)).any(|there| there == part)
}

fn processes() -> BTreeMap<i32, Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return BTreeMap::new() };
    entries
        .flatten()
        .filter_map(|entry| {
            let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
            Some((pid, parse_stat(&stat)?))
        })
        .collect()
}

/// Reads `pid (name) state parent group session …`; the name may hold anything, parentheses too.
fn parse_stat(stat: &[u8]) -> Option<Process> {
    let behind_name = stat.iter().rposition(|byte| *byte == b')')? + 1;
    let rest = std::str::from_utf8(&stat[behind_name..]).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let ended = matches!(fields.next()?, "Z" | "X");
    let parent = fields.next()?.parse().ok()?;
    let session = fields.nth(1)?.parse().ok()?;
    Some(Process { parent, session, ended })
}

#[cfg(test)]
mod tests {
    use super::parse_stat;

    #[test]
    fn a_process_cannot_hide_behind_its_name() {
        let check = |stat: &[u8], expected: Option<(i32, i32, bool)>| {
            let read = parse_stat(stat).map(|p| (p.parent, p.session, p.ended));
            assert_eq!(read, expected, "{}", String::from_utf8_lossy(stat));
        };
        check(b"7 (sh) S 3 7 7 0 -1 4194560", Some((3, 7, false)));
        check(b"7 (a) Z 1 (b) S 3 7 9 0 -1", Some((3, 9, false)));
        check(b"7 (\xff\n)) Z 3 7 9 0 -1", Some((3, 9, true)));
        check(b"7 (sh", None);
        check(b"7 (sh) S x", None);
    }
}
