//! Whom to kill.

use super::world::{Process, Started, World, kill_process};

/// One process of those that work on a run, or several at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Victim {
    /// The command that watches.
    Command,
    /// The terminal that the command was started from.
    Terminal,
    Supervisor,
    Control,
    Agent,
    Launcher,
    /// The node is told to leave although it is busy.
    Node,
    /// The command, and every process of the node, at once.
    All,
}

impl Victim {
    /// Kills whoever of them is there now; a role may be between two lives.
    pub(crate) fn kill(self, world: &World, command: &Started) {
        let node = world.node();
        let role = |name| Process::named(&node, name).into_iter().collect::<Vec<_>>();
        let doomed = match self {
            Self::Command => vec![command.pid()],
            Self::Terminal => return command.hang_up(),
            Self::Supervisor => node.first().map(|process| process.pid).into_iter().collect(),
            Self::Control => role("otto-control"),
            Self::Agent => role("otto-agent"),
            Self::Launcher => role("otto-launcher"),
            Self::Node => {
                world.succeed("otto-node stop --busy");
                // Who watches does not undo that; whoever comes next does.
                return drop(world.succeed("otto runs"));
            }
            Self::All => {
                let node = node.into_iter().map(|process| process.pid);
                std::iter::once(command.pid()).chain(node).collect()
            }
        };
        for pid in doomed {
            kill_process(pid);
        }
    }

    /// Whether the command that watches is killed too.
    pub(crate) fn ends_the_command(self) -> bool {
        matches!(self, Self::Command | Self::Terminal | Self::All)
    }

    /// Whether the steps that run now end with it.
    pub(crate) fn ends_attempts(self) -> bool {
        match self {
            Self::Command | Self::Terminal | Self::Control => false,
            Self::Supervisor | Self::Agent | Self::Launcher | Self::Node | Self::All => true,
        }
    }
}
