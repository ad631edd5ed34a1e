//! What a stage needs of an agent, what an agent has, and how far the two are apart.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The most tools that an agent remembers to have looked for in vain.
pub const MAX_ABSENT: usize = 1000;
/// The longest name of a tool, in bytes.
const MAX_TOOL_NAME: usize = 64;

/// A version such as `3.11.2`: its numbers, most significant first.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Version(pub Vec<u64>);

impl Version {
    /// Reads the first dotted numbers of a text, whatever stands in front of them, as in `v1.2`,
    /// `go1.22` or `Python 3.11.2`; `None` without any.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let start = text.find(|c: char| c.is_ascii_digit())?;
        let dotted = text[start..].split(|c: char| !c.is_ascii_digit() && c != '.').next()?;
        let numbers: Option<Vec<u64>> = dotted
            .split('.')
            .filter(|part| !part.is_empty())
            .map(|part| part.parse().ok())
            .collect();
        numbers.filter(|numbers| !numbers.is_empty()).map(Self)
    }

    fn part(&self, index: usize) -> u64 {
        self.0.get(index).copied().unwrap_or(0)
    }

    /// Compares as versions: missing numbers are zero.
    #[must_use]
    pub fn compare(&self, other: &Self) -> std::cmp::Ordering {
        let parts = self.0.len().max(other.0.len());
        (0..parts)
            .map(|index| self.part(index).cmp(&other.part(index)))
            .find(|order| order.is_ne())
            .unwrap_or(std::cmp::Ordering::Equal)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers: Vec<String> = self.0.iter().map(u64::to_string).collect();
        f.write_str(&numbers.join("."))
    }
}

/// How a version must compare.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Comparison {
    /// `= 3.11`: these numbers exactly, as far as given.
    Exactly,
    /// `>= 3.11`.
    AtLeast,
    /// `> 3.11`.
    Above,
    /// `<= 3.11`.
    AtMost,
    /// `< 3.11`.
    Below,
    /// `~> 3.11`: at least this, and the same but for the last number given.
    Compatible,
}

impl Comparison {
    /// How it is written.
    #[must_use]
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Exactly => "=",
            Self::AtLeast => ">=",
            Self::Above => ">",
            Self::AtMost => "<=",
            Self::Below => "<",
            Self::Compatible => "~>",
        }
    }
}

/// A version that is asked for.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct VersionNeed {
    /// How it must compare.
    pub comparison: Comparison,
    /// With what.
    pub version: Version,
}

impl VersionNeed {
    /// Reads `~> 3.3`, `>= 4`, `3.11` (exactly, as far as given).
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let signs = [
            ("~>", Comparison::Compatible),
            (">=", Comparison::AtLeast),
            ("<=", Comparison::AtMost),
            ("==", Comparison::Exactly),
            (">", Comparison::Above),
            ("<", Comparison::Below),
            ("=", Comparison::Exactly),
        ];
        let (comparison, rest) = signs
            .iter()
            .find_map(|(sign, comparison)| Some((*comparison, text.strip_prefix(sign)?)))
            .unwrap_or((Comparison::Exactly, text));
        let rest = rest.trim();
        let plain = rest.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        (plain).then(|| Version::parse(rest)).flatten().map(|version| Self { comparison, version })
    }

    /// Whether a version that is there will do.
    #[must_use]
    pub fn accepts(&self, there: &Version) -> bool {
        let order = there.compare(&self.version);
        let same_prefix = |len: usize| (0..len).all(|i| there.part(i) == self.version.part(i));
        match self.comparison {
            Comparison::Exactly => same_prefix(self.version.0.len()),
            Comparison::AtLeast => order.is_ge(),
            Comparison::Above => order.is_gt(),
            Comparison::AtMost => order.is_le(),
            Comparison::Below => order.is_lt(),
            Comparison::Compatible => {
                order.is_ge() && same_prefix(self.version.0.len().saturating_sub(1).max(1))
            }
        }
    }
}

impl fmt::Display for VersionNeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.comparison.symbol(), self.version)
    }
}

/// What a stage needs of the agent that runs it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Need {
    /// Every one of these; an empty list asks for nothing.
    All(Vec<Need>),
    /// The first of these that the agent has.
    Any(Vec<Need>),
    /// At least this many processor cores.
    Cores(u64),
    /// At least this many bytes of memory.
    Memory(u64),
    /// This processor architecture, such as `x86_64`.
    Arch(String),
    /// This operating system, such as `linux`.
    Os(String),
    /// A tool, in a version where that matters.
    Tool {
        /// The tool's name, as its command is called.
        name: String,
        /// Which versions will do; `None` is all.
        version: Option<VersionNeed>,
    },
    /// A container with this image.
    Docker {
        /// The image.
        image: String,
    },
}

impl Default for Need {
    fn default() -> Self {
        Self::All(Vec::new())
    }
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let join = |needs: &[Need], gap: &str| {
            needs.iter().map(Need::to_string).collect::<Vec<_>>().join(gap)
        };
        match self {
            Self::All(needs) if needs.is_empty() => f.write_str("nothing in particular"),
            Self::All(needs) => f.write_str(&join(needs, ", ")),
            Self::Any(needs) => write!(f, "({})", join(needs, " or ")),
            Self::Cores(cores) => write!(f, "cores >= {cores}"),
            Self::Memory(bytes) => write!(f, "memory >= {}", in_units(*bytes)),
            Self::Arch(arch) => write!(f, "arch {arch}"),
            Self::Os(os) => write!(f, "os {os}"),
            Self::Tool { name, version: None } => f.write_str(name),
            Self::Tool { name, version: Some(version) } => write!(f, "{name} {version}"),
            Self::Docker { image } => write!(f, "docker with {image}"),
        }
    }
}

/// Whether a tool of this name can be looked for: it names a program in a folder and nothing else,
/// and no program takes it for an option.
#[must_use]
pub fn is_tool_name(name: &str) -> bool {
    let plain = |c: char| c != '/' && !c.is_control() && !c.is_whitespace();
    (1..=MAX_TOOL_NAME).contains(&name.len())
        && !name.starts_with(['-', '.'])
        && name.chars().all(plain)
}

/// What became of the search for a tool.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Found {
    /// It is there, with its version where one could be read.
    Present(Option<Version>),
    /// It is not there.
    Absent,
}

/// Writes a number of bytes in the largest binary unit that divides it: `2G`, `512M`, `100`.
fn in_units(bytes: u64) -> String {
    [("T", 40), ("G", 30), ("M", 20), ("K", 10)]
        .into_iter()
        .find(|(_, shift)| bytes > 0 && bytes.is_multiple_of(1 << shift))
        .map_or_else(|| bytes.to_string(), |(unit, shift)| format!("{}{unit}", bytes >> shift))
}

/// Reads a size such as `512M` or `2G` (binary units) as bytes.
///
/// # Errors
/// A description of what was expected.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || format!("'{text}' is no size; write one such as '512M' or '2G'");
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number: u64 = text[..digits].parse().map_err(|_| wrong())?;
    let shift = match &text[digits..] {
        "" | "B" => 0,
        "K" | "KB" | "KiB" => 10,
        "M" | "MB" | "MiB" => 20,
        "G" | "GB" | "GiB" => 30,
        "T" | "TB" | "TiB" => 40,
        _ => return Err(wrong()),
    };
    number.checked_mul(1 << shift).ok_or_else(wrong)
}

/// What an agent has. Its tools are looked for when somebody needs them.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
pub struct Capabilities {
    /// Processor cores.
    pub cores: u64,
    /// Memory in bytes.
    pub memory: u64,
    /// Processor architecture.
    pub arch: String,
    /// Operating system.
    pub os: String,
    /// Tools by name, with the version where one could be read.
    pub tools: BTreeMap<String, Option<Version>>,
    /// Tools that were looked for and are not there.
    #[serde(default)]
    pub absent: BTreeSet<String>,
}

impl Capabilities {
    /// The tools of a need that nobody has looked for here, and that matter: where one of several
    /// alternatives is known to be here, the others are not looked for. A tool whose name is none
    /// is not looked for either: it is lacking.
    #[must_use]
    pub fn unknown<'a>(&self, need: &'a Need) -> BTreeSet<&'a str> {
        match need {
            Need::All(needs) => needs.iter().flat_map(|need| self.unknown(need)).collect(),
            Need::Any(_) if self.lacks(need).is_empty() => BTreeSet::new(),
            Need::Any(needs) => needs.iter().flat_map(|need| self.unknown(need)).collect(),
            Need::Tool { name, .. } => self.unknown_tool(name),
            Need::Docker { .. } => self.unknown_tool("docker"),
            Need::Cores(_) | Need::Memory(_) | Need::Arch(_) | Need::Os(_) => BTreeSet::new(),
        }
    }

    fn unknown_tool<'a>(&self, tool: &'a str) -> BTreeSet<&'a str> {
        let known = self.tools.contains_key(tool) || self.absent.contains(tool);
        if known || !is_tool_name(tool) { BTreeSet::new() } else { BTreeSet::from([tool]) }
    }

    /// Takes in what a search for tools found. Of what is absent only so much is remembered: what
    /// was looked for now is what somebody needs now.
    pub fn learn(&mut self, found: BTreeMap<String, Found>) {
        if self.absent.len() + found.len() > MAX_ABSENT {
            self.absent.clear();
        }
        for (tool, found) in found {
            match found {
                Found::Present(version) => {
                    self.absent.remove(&tool);
                    self.tools.insert(tool, version);
                }
                Found::Absent if self.absent.len() < MAX_ABSENT => {
                    self.tools.remove(&tool);
                    self.absent.insert(tool);
                }
                Found::Absent => {}
            }
        }
    }

    /// What is missing here for a need, in words; empty where nothing is.
    #[must_use]
    pub fn lacks(&self, need: &Need) -> Vec<String> {
        match need {
            Need::All(needs) => needs.iter().flat_map(|need| self.lacks(need)).collect(),
            Need::Any(needs) => needs
                .iter()
                .map(|need| self.lacks(need))
                .min_by_key(Vec::len)
                .filter(|lacks| !lacks.is_empty())
                .map_or_else(Vec::new, |_| vec![need.to_string()]),
            Need::Cores(cores) => {
                unless(self.cores >= *cores, || format!("{need} (has {})", self.cores))
            }
            Need::Memory(bytes) => {
                unless(self.memory >= *bytes, || format!("{need} (has {})", in_units(self.memory)))
            }
            Need::Arch(arch) => unless(self.arch == *arch, || format!("{need} (is {})", self.arch)),
            Need::Os(os) => unless(self.os == *os, || format!("{need} (is {})", self.os)),
            Need::Tool { name, version } => self.lacks_tool(name, version.as_ref()),
            Need::Docker { .. } => self.lacks_tool("docker", None),
        }
    }

    fn lacks_tool(&self, name: &str, need: Option<&VersionNeed>) -> Vec<String> {
        match (self.tools.get(name), need) {
            (None, None) => vec![name.to_owned()],
            (None, Some(need)) => vec![format!("{name} {need}")],
            (Some(_), None) => Vec::new(),
            (Some(None), Some(need)) => vec![format!("{name} {need} (its version is not known)")],
            (Some(Some(there)), Some(need)) => {
                unless(need.accepts(there), || format!("{name} {need} (has {there})"))
            }
        }
    }
}

/// The one lack, unless the need holds.
fn unless(holds: bool, lack: impl FnOnce() -> String) -> Vec<String> {
    if holds { Vec::new() } else { vec![lack()] }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        Version::parse(text).unwrap_or_else(|| panic!("{text} holds a version"))
    }

    #[test]
    fn versions_are_found_in_what_tools_print() {
        let check = |text: &str, numbers: &[u64]| assert_eq!(version(text).0, numbers, "{text}");
        check("3.11.2", &[3, 11, 2]);
        check("v18.19.0", &[18, 19, 0]);
        check("go1.22", &[1, 22]);
        check("ruby 3.3.0p0 (2023-12-25)", &[3, 3, 0]);
        check("Docker version 24.0.7, build afdd53b", &[24, 0, 7]);
        for text in ["", "none", "99999999999999999999"] {
            assert_eq!(Version::parse(text), None, "{text}");
        }
    }

    #[test]
    fn needs_accept_what_they_say() {
        let check = |need: &str, yes: &[&str], no: &[&str]| {
            let need = VersionNeed::parse(need).unwrap_or_else(|| panic!("{need} is a need"));
            assert_eq!(VersionNeed::parse(&need.to_string()), Some(need.clone()), "reads back");
            for it in yes {
                assert!(need.accepts(&version(it)), "{need}: {it}");
            }
            for it in no {
                assert!(!need.accepts(&version(it)), "{need}: {it}");
            }
        };
        check("3.11", &["3.11", "3.11.9"], &["3.1", "3.12", "4.11"]);
        check("~> 3.11", &["3.11", "3.12.1"], &["3.10.9", "4.0"]);
        check("~> 3.11.2", &["3.11.2", "3.11.10"], &["3.11.1", "3.12"]);
        check("~> 3", &["3.0", "3.99"], &["2.9", "4"]);
        check(">= 4", &["4.0", "10"], &["3.99"]);
        check("> 4", &["4.0.1"], &["4.0", "4"]);
        check("<= 4", &["4.0.0", "3"], &["4.0.1"]);
        check("< 4", &["3.9"], &["4", "4.1"]);
        check("== 1.2", &["1.2.3"], &["1.3"]);
        for text in ["", "~>", "three", ">= x", "1.2-beta"] {
            assert_eq!(VersionNeed::parse(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_read_back_as_written() {
        let check = |text: &str, bytes: u64, written: &str| {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
            assert_eq!(in_units(bytes), written, "{text}");
        };
        check("512M", 512 << 20, "512M");
        check("2048K", 2 << 20, "2M");
        check("2GiB", 2 << 30, "2G");
        check("100B", 100, "100");
        check("0", 0, "0");
        for text in ["", "G", "2X", "-1", "1.5G", "99999999T", "2é"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_missing_is_said_in_words() {
        let python = |need: &str| Need::Tool {
            name: "python".to_owned(),
            version: VersionNeed::parse(need),
        };
        let docker = || Need::Docker { image: "ruby:3.3".to_owned() };
        let machine = Capabilities {
            cores: 2,
            memory: 4 << 30,
            arch: "x86_64".to_owned(),
            os: "linux".to_owned(),
            tools: [("python".to_owned(), Some(version("3.10"))), ("sh".to_owned(), None)].into(),
            absent: BTreeSet::new(),
        };
        let check = |need: Need, lacks: &[&str]| assert_eq!(machine.lacks(&need), lacks, "{need}");
        check(Need::default(), &[]);
        check(Need::All(vec![Need::Cores(2), Need::Memory(4 << 30)]), &[]);
        check(
            Need::All(vec![Need::Cores(4), python("~> 3.11")]),
            &["cores >= 4 (has 2)", "python ~> 3.11 (has 3.10)"],
        );
        check(docker(), &["docker"]);
        check(Need::Any(vec![docker(), python(">= 3")]), &[]);
        check(Need::Any(vec![docker(), python("4")]), &["(docker with ruby:3.3 or python = 4)"]);
        check(Need::Arch("aarch64".to_owned()), &["arch aarch64 (is x86_64)"]);
        check(Need::Os("linux".to_owned()), &[]);
        let sh = Need::Tool { name: "sh".to_owned(), version: VersionNeed::parse("5") };
        check(sh, &["sh = 5 (its version is not known)"]);
    }

    #[test]
    fn only_what_nobody_has_looked_for_is_unknown() {
        let tool = |name: &str| Need::Tool { name: name.to_owned(), version: None };
        let mut machine = Capabilities::default();
        let found = [
            ("git".to_owned(), Found::Present(Some(version("2.39")))),
            ("go".to_owned(), Found::Absent),
        ];
        machine.learn(found.into());
        let check = |machine: &Capabilities, need: Need, expected: &[&str]| {
            let unknown: Vec<&str> = machine.unknown(&need).into_iter().collect();
            assert_eq!(unknown, expected, "{need}");
        };
        check(&machine, Need::Cores(4), &[]);
        check(&machine, Need::All(vec![tool("git"), tool("go")]), &[]);
        let docker = Need::Docker { image: "ruby:3.3".to_owned() };
        let nested = Need::Any(vec![Need::All(vec![tool("go"), tool("ant")]), docker]);
        check(&machine, nested, &["ant", "docker"]);
        let either = |first, second| Need::Any(vec![tool(first), tool(second)]);
        let both = Need::All(vec![either("ant", "git"), tool("make"), either("go", "rake")]);
        check(&machine, both, &["make", "rake"]);
        for name in ["", "../sh", "/bin/sh", "-rf", ".", "two words", "a\nb", &"x".repeat(65)] {
            check(&machine, tool(name), &[]);
        }
        check(&machine, tool(&"x".repeat(64)), &["x".repeat(64).as_str()]);
        machine.learn([("go".to_owned(), Found::Present(None))].into());
        assert_eq!((machine.tools.len(), machine.absent.len()), (2, 0));
    }

    #[test]
    fn what_is_absent_is_remembered_within_a_limit() {
        let mut machine = Capabilities::default();
        for number in 0..=MAX_ABSENT {
            machine.learn([(number.to_string(), Found::Absent)].into());
            assert!(machine.absent.len() <= MAX_ABSENT);
            assert!(machine.absent.contains(&number.to_string()));
        }
        assert_eq!(machine.absent.len(), 1);
        let many = (0..2 * MAX_ABSENT).map(|number| (number.to_string(), Found::Absent));
        machine.learn(many.collect());
        assert_eq!(machine.absent.len(), MAX_ABSENT);
    }
}
