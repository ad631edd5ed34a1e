//! Trying a step on its own: what `otto steps test` does.
//!
//! The step gets a workspace, an invocation file and a control socket, as an agent would give it;
//! what it asks is answered from memory and told afterwards. There is no confinement.

mod agent;

pub use agent::Asked;

use crate::control_socket::Status;
use crate::invocation::{Control, Identity, Invocation, Secret, VARIABLE, VERSION};
use crate::plain::{self, Plain};
use crate::problem::instead;
use crate::steps::{PREFIX, link_commands};
use agent::Agent;
use otto_core::run::outcome::Outcome;
use otto_core::step::{Entrypoint, Library, LibrarySource, Parameter, Signature, Word};
use otto_core::value::Value;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixListener;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

/// What is tried, and with what.
#[derive(Debug)]
pub struct Setup<'a> {
    /// The step's library.
    pub library: &'a Library,
    /// The word that calls the step.
    pub symbol: &'a str,
    /// The folder that the library's own path is from.
    pub repository: &'a Path,
    /// The arguments by parameter; defaults are filled in.
    pub arguments: BTreeMap<String, Value>,
    /// The library's configuration; defaults are filled in.
    pub configuration: BTreeMap<String, Value>,
    /// More environment variables.
    pub settings: BTreeMap<String, String>,
    /// The folder that the step runs in.
    pub workspace: &'a Path,
    /// A folder for the trial's own files: private, and with a path under 80 bytes.
    pub scratch: &'a Path,
    /// Otto's executable, for the steps and commands inside it.
    pub image: &'a Path,
    /// The artifacts that are there, by name.
    pub artifacts: BTreeMap<String, Vec<u8>>,
    /// Random bytes for the control socket's secret.
    pub random: &'a [u8; 32],
}

/// How a trial ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trial {
    /// The exit code; 128 and its number for a signal.
    pub code: i32,
    /// How that counts, together with what the step said of itself.
    pub outcome: Outcome,
    /// How the process ended, for people: `exit status: 1`.
    pub detail: String,
    /// What the step asked of its agent.
    pub asked: Asked,
}

/// A trial that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// The library has no such step.
    #[error("find the step '{symbol}' in '{library}'{help}")]
    Unknown {
        /// The step.
        symbol: String,
        /// The library.
        library: String,
        /// What may have been meant: nothing, or behind a semicolon.
        help: String,
    },
    /// An argument or a setting does not fit.
    #[error("use '{name}': {why}")]
    Unfit {
        /// Its name.
        name: String,
        /// Why not.
        why: String,
    },
    /// The step runs no process of its own.
    #[error("try '{0}': it runs no process; the steps in its block do")]
    NoProcess(String),
    /// The machine does not let us.
    #[error("{tried}: {cause}")]
    Machine {
        /// What was tried.
        tried: String,
        /// Why it failed.
        cause: io::Error,
    },
}

/// Runs a step to its end; what it prints goes where this process prints.
///
/// # Errors
/// When it cannot be started with what it was given.
pub fn run(setup: &Setup<'_>) -> Result<Trial, TrialError> {
    let signature = signature(setup.library, setup.symbol)?;
    let parameters = filled(&signature.parameters, &setup.arguments)?;
    let configuration = filled(&setup.library.configuration, &setup.configuration)?;
    let machine = |tried: &str| {
        let tried = tried.to_owned();
        move |cause| TrialError::Machine { tried, cause }
    };
    let socket = setup.scratch.join("control");
    let listener = UnixListener::bind(&socket).map_err(machine("listen on the control socket"))?;
    let secret = Secret::of(setup.random);
    let invocation = Invocation {
        version: VERSION,
        identity: identity(setup),
        parameters,
        configuration,
        library: library_folder(setup),
        cache: cache(setup, signature).map_err(machine("make the step's cache"))?,
        control: Some(Control { socket: Some(socket), descriptor: None, secret: secret.clone() }),
    };
    let file = setup.scratch.join("invocation.yml");
    fs::write(&file, invocation.to_bytes()).map_err(machine("write the invocation file"))?;
    let commands = setup.scratch.join("commands");
    link_commands(&commands, setup.image).map_err(machine("link the commands for scripts"))?;

    let mut command = command(setup, signature, &invocation, &file)?;
    environment(&mut command, setup, &commands, &file);
    let mut child =
        command.spawn().map_err(machine(&format!("start the step '{}'", setup.symbol)))?;
    let mut agent = Agent { asked: Asked::default(), secret };
    agent.asked.artifacts.clone_from(&setup.artifacts);
    // The process is its own descriptor, which can be read once it has ended.
    let served = i32::try_from(child.id())
        .ok()
        .and_then(Pid::from_raw)
        .ok_or_else(|| io::Error::other("a process without an id"))
        .and_then(|pid| Ok(pidfd_open(pid, PidfdFlags::empty())?))
        .and_then(|over| agent.serve(&listener, over.as_fd()));
    if served.is_err() {
        child.kill().ok();
    }
    let status = child.wait().map_err(machine("wait for the step"))?;
    served.map_err(machine("serve the control socket"))?;
    let code = code(status);
    let outcome = outcome(signature, &invocation, code, &agent.asked);
    Ok(Trial { code, outcome, detail: status.to_string(), asked: agent.asked })
}

/// What an exit code stands for: a script's own codes are failures, unless it was said otherwise.
fn outcome(signature: &Signature, invocation: &Invocation, code: i32, asked: &Asked) -> Outcome {
    let script = matches!(signature.entrypoint, Entrypoint::Script { .. });
    let exit = match code {
        0 => Outcome::Success,
        code if script => {
            let unstable = match invocation.parameter("unstable") {
                Value::List(codes) => {
                    codes.iter().any(|listed| listed.to_string() == code.to_string())
                }
                Value::Text(_) | Value::Number(_) | Value::Boolean(_) | Value::Absent => false,
            };
            if unstable { Outcome::Unstable } else { Outcome::Failed }
        }
        2 => Outcome::Cancelled,
        3 => Outcome::Unstable,
        _ => Outcome::Failed,
    };
    let said = asked.status.iter().chain(&asked.end).map(|verdict| match verdict.status {
        Status::Success => Outcome::Success,
        Status::Unstable => Outcome::Unstable,
        Status::Failed => Outcome::Failed,
    });
    said.fold(exit, Outcome::max)
}

fn signature<'a>(library: &'a Library, symbol: &str) -> Result<&'a Signature, TrialError> {
    library.steps.get(symbol).ok_or_else(|| {
        let known: Vec<&str> = library.steps.keys().map(String::as_str).collect();
        TrialError::Unknown {
            symbol: symbol.to_owned(),
            library: library.name.clone(),
            help: instead(symbol, &known).map(|help| format!("; {help}")).unwrap_or_default(),
        }
    })
}

/// Checks values against what is declared, and fills in defaults.
fn filled(
    declared: &[Parameter],
    given: &BTreeMap<String, Value>,
) -> Result<BTreeMap<String, Plain>, TrialError> {
    let unfit = |name: &str, why: String| TrialError::Unfit { name: name.to_owned(), why };
    let known: Vec<&str> = declared.iter().map(|parameter| parameter.name.as_str()).collect();
    if let Some(name) = given.keys().find(|name| !known.contains(&name.as_str())) {
        let help = instead(name, &known).unwrap_or_else(|| "there are none".to_owned());
        return Err(unfit(name, format!("there is no such parameter; {help}")));
    }
    let mut values = BTreeMap::new();
    for parameter in declared {
        let name = &parameter.name;
        let value = match (given.get(name), &parameter.default) {
            (Some(value), _) => {
                plain::check(value, &parameter.value_type).map_err(|why| unfit(name, why))?;
                value.clone()
            }
            (None, Some(default)) => default.clone(),
            (None, None) if parameter.optional => continue,
            (None, None) => return Err(unfit(name, "it must be given".to_owned())),
        };
        values.insert(name.clone(), Plain(value));
    }
    Ok(values)
}

fn identity(setup: &Setup<'_>) -> Identity {
    Identity {
        project: "trial".to_owned(),
        run: 1,
        stage: "trial".to_owned(),
        attempt: 1,
        epoch: "0.1".to_owned(),
        step: setup.symbol.to_owned(),
        place: "steps/0".to_owned(),
    }
}

fn library_folder(setup: &Setup<'_>) -> Option<PathBuf> {
    match &setup.library.source {
        LibrarySource::Builtin => None,
        LibrarySource::Repository { path } => Some(setup.repository.join(path)),
    }
}

fn cache(setup: &Setup<'_>, signature: &Signature) -> io::Result<Option<PathBuf>> {
    if !signature.cache {
        return Ok(None);
    }
    let folder = setup.scratch.join("cache");
    DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
    Ok(Some(folder))
}

fn command(
    setup: &Setup<'_>,
    signature: &Signature,
    invocation: &Invocation,
    file: &Path,
) -> Result<Command, TrialError> {
    match &signature.entrypoint {
        Entrypoint::Program { path } => {
            let library = invocation.library.clone().unwrap_or_default();
            let mut command = Command::new(library.join(path));
            command.arg(file);
            Ok(command)
        }
        Entrypoint::Image { name } => {
            let mut command = Command::new(setup.image);
            command.arg0(format!("{PREFIX}{name}")).arg(file);
            Ok(command)
        }
        Entrypoint::Arguments(words) => {
            let mut words = words.iter().flat_map(|word| match word {
                Word::Literal(text) => vec![text.clone()],
                Word::Parameter(name) => match invocation.parameter(name) {
                    Value::Absent => Vec::new(),
                    Value::List(values) => values.iter().map(Value::to_string).collect(),
                    value @ (Value::Text(_) | Value::Number(_) | Value::Boolean(_)) => {
                        vec![value.to_string()]
                    }
                },
            });
            let mut command = Command::new(words.next().unwrap_or_default());
            command.args(words);
            Ok(command)
        }
        Entrypoint::Script { parameter } => {
            let script = invocation.parameter(parameter).to_string();
            self::script(setup, &script).map_err(|cause| TrialError::Machine {
                tried: "write the script".to_owned(),
                cause,
            })
        }
        Entrypoint::Folder { .. } => Err(TrialError::NoProcess(signature.symbol.clone())),
    }
}

fn script(setup: &Setup<'_>, script: &str) -> io::Result<Command> {
    let Some(line) = script.strip_prefix("#!").and_then(|rest| rest.lines().next()) else {
        let mut command = Command::new("sh");
        command.args(["-xec", script]);
        return Ok(command);
    };
    let file = setup.scratch.join("script");
    fs::write(&file, script)?;
    // As the kernel does it: an interpreter, at most one argument, the script.
    let (interpreter, argument) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
    let mut command = Command::new(interpreter);
    command.args(Some(argument.trim()).filter(|argument| !argument.is_empty())).arg(file);
    Ok(command)
}

/// Builds the environment from nothing, as an agent does.
fn environment(command: &mut Command, setup: &Setup<'_>, commands: &Path, file: &Path) {
    let mut path = OsString::from(commands);
    if let Some(inherited) = std::env::var_os("PATH") {
        path.push(":");
        path.push(inherited);
    }
    command.env_clear().current_dir(setup.workspace);
    for name in ["HOME", "LANG", "TMPDIR", "USER"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command.envs(&setup.settings).env("PATH", path).env(VARIABLE, file);
}

fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
}
