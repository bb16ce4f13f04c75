//! Scenarios: what a run should do, as a TOML file, as flags, and with every default filled in.
//!
//! A [`Scenario`] holds what somebody said; flags win over the file. A [`Resolved`] one has no
//! gaps (but the seed, which is drawn) and is what `run.json` keeps. All defaults stand in the one
//! table below. Unknown keys are refused: a misspelt key would silently test something else.

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use protocol::launch::Timing;
use serde::{Deserialize, Serialize};

use crate::vacuity::MIN_OK_DEFAULT;
use crate::{BudgetLimits, Error, Span};

/// Most nodes of a cluster.
pub const NODES_MAX: u32 = 63;
/// Most clients at once.
pub const CLIENTS_MAX: u32 = 10_000;

/// How the harness and the nodes are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Real sockets and real time.
    Tcp,
    /// Messages over standard input and output, real time.
    Stdio,
    /// Messages over standard input and output, virtual time.
    Lockstep,
}

impl FromStr for Mode {
    type Err = Error;
    fn from_str(text: &str) -> Result<Mode, Error> {
        match text {
            "tcp" => Ok(Mode::Tcp),
            "stdio" => Ok(Mode::Stdio),
            "lockstep" => Ok(Mode::Lockstep),
            _ => Err(Error::setting(text, "a mode: tcp, stdio or lockstep")),
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Mode::Tcp => "tcp",
            Mode::Stdio => "stdio",
            Mode::Lockstep => "lockstep",
        })
    }
}

/// Raft's timing as a scenario gives it; what is left out keeps its default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TimingKeys {
    /// Shortest election timeout, in milliseconds.
    pub election_timeout_ms_min: Option<u64>,
    /// End of the range of election timeouts, in milliseconds.
    pub election_timeout_ms_max: Option<u64>,
    /// A leader's heartbeat interval, in milliseconds.
    pub heartbeat_ms: Option<u64>,
}

impl TimingKeys {
    fn resolve(self) -> Timing {
        let default = Timing::default();
        Timing {
            election_timeout_ms_min: self
                .election_timeout_ms_min
                .unwrap_or(default.election_timeout_ms_min),
            election_timeout_ms_max: self
                .election_timeout_ms_max
                .unwrap_or(default.election_timeout_ms_max),
            heartbeat_ms: self.heartbeat_ms.unwrap_or(default.heartbeat_ms),
        }
    }
}

macro_rules! scenario_keys {
    ($($(#[$doc:meta])* $key:ident: $ty:ty = $default:expr,)*) => {
        /// What somebody said about a run; each key is optional and has a flag of its name.
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct Scenario {
            $($(#[$doc])* #[serde(skip_serializing_if = "Option::is_none")] pub $key: Option<$ty>,)*
            /// The seed of every random choice of workload and schedule; drawn when it is absent.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub seed: Option<u64>,
            /// Operations per second that all clients start together; absent: each client starts
            /// its next operation when its last one ends.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub rate: Option<f64>,
            /// Raft's timing.
            pub timing: TimingKeys,
        }

        /// A scenario with every default filled in. A record from before a key existed gets the
        /// key's default.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(default)]
        pub struct Resolved {
            $($(#[$doc])* pub $key: $ty,)*
            /// The seed of every random choice of workload and schedule; the harness draws one
            /// and puts it here when there is none.
            pub seed: Option<u64>,
            /// Operations per second that all clients start together; null: closed loop.
            pub rate: Option<f64>,
            /// Raft's timing.
            pub timing: Timing,
        }

        /// Every key of a scenario file.
        pub const KEYS: &[&str] = &[$(stringify!($key),)* "seed", "rate", "timing"];

        impl Scenario {
            /// This scenario with everything that `flags` says put over it.
            #[must_use]
            pub fn overlaid_by(self, flags: Scenario) -> Scenario {
                let (over, under) = (flags.timing, self.timing);
                Scenario {
                    $($key: flags.$key.or(self.$key),)*
                    seed: flags.seed.or(self.seed),
                    rate: flags.rate.or(self.rate),
                    timing: TimingKeys {
                        election_timeout_ms_min:
                            over.election_timeout_ms_min.or(under.election_timeout_ms_min),
                        election_timeout_ms_max:
                            over.election_timeout_ms_max.or(under.election_timeout_ms_max),
                        heartbeat_ms: over.heartbeat_ms.or(under.heartbeat_ms),
                    },
                }
            }

            fn fill_in(self) -> Resolved {
                Resolved {
                    $($key: self.$key.unwrap_or_else(|| $default),)*
                    seed: self.seed,
                    rate: self.rate,
                    timing: self.timing.resolve(),
                }
            }
        }
    };
}

// The one table of defaults.
scenario_keys! {
    /// The system under test: a built-in name or the path of a system file. Default: `raft`.
    system: String = "raft".to_string(),
    /// Nodes of the cluster. Default: 5.
    nodes: u32 = 5,
    /// What clients do. Default: `register`.
    workload: String = "register".to_string(),
    /// Clients at once. Default: 10.
    clients: u32 = 10,
    /// Keys that are live at once; retired ones are replaced by fresh ones. Default: 5.
    keys: u32 = 5,
    /// Operations after which a key is retired. Default: 500.
    ops_per_key: u32 = 500,
    /// Unknown outcomes after which a key is retired. Default: 8.
    unknowns_per_key: u32 = 8,
    /// How long a client waits for an answer. Default: 1s.
    op_timeout: Span = Span(Duration::from_secs(1)),
    /// Faults and groups of faults by name; an empty list: none. Default: `all`.
    faults: Vec<String> = vec!["all".to_string()],
    /// Mean time between the beginnings of two faults. Default: 1500ms.
    fault_interval: Span = Span(Duration::from_millis(1_500)),
    /// Mean time that a fault stays in force. Default: 2s.
    fault_duration: Span = Span(Duration::from_secs(2)),
    /// How long the workload runs before everything is healed. Default: 60s.
    time_limit: Span = Span(Duration::from_mins(1)),
    /// How long the nodes may take from their first start until they serve. Default: 60s.
    start_limit: Span = Span(Duration::from_mins(1)),
    /// How long the healed cluster may take to make progress again. Default: 30s.
    recovery_limit: Span = Span(Duration::from_secs(30)),
    /// How harness and nodes are joined. Default: `tcp`.
    mode: Mode = Mode::Tcp,
    /// Seeded bugs to switch on, by the names that `describe` gives. Default: none.
    bug: Vec<String> = Vec::new(),
    /// Whether nodes trace, if they can. Default: true.
    trace: bool = true,
    /// What the checks may use: time and memory. Default: `60s,4GiB`.
    budget: BudgetLimits = BudgetLimits::default(),
    /// Fewest operations that must succeed for the run to mean something. Default: 100.
    min_ok: u64 = MIN_OK_DEFAULT,
}

impl Default for Resolved {
    fn default() -> Self {
        Scenario::default().fill_in()
    }
}

impl Scenario {
    /// Reads a scenario file.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Config`] with line and column, and the known keys where one is
    /// unknown.
    pub fn read(path: &Path) -> Result<Scenario, Error> {
        let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
        parse_toml(&text, path)
    }

    /// Fills in the defaults and checks that the values go together.
    ///
    /// # Errors
    /// [`Error::Setting`] names the first key whose value makes no sense.
    pub fn resolve(self) -> Result<Resolved, Error> {
        let resolved = self.fill_in();
        resolved.validate()?;
        Ok(resolved)
    }
}

impl Resolved {
    fn validate(&self) -> Result<(), Error> {
        let within = |key: &str, value: u32, max: u32| {
            if (1..=max).contains(&value) {
                Ok(())
            } else {
                Err(Error::setting(&format!("{key} = {value}"), format!("from 1 to {max}")))
            }
        };
        within("nodes", self.nodes, NODES_MAX)?;
        within("clients", self.clients, CLIENTS_MAX)?;
        within("keys", self.keys, u32::MAX)?;
        within("ops_per_key", self.ops_per_key, u32::MAX)?;
        within("unknowns_per_key", self.unknowns_per_key, u32::MAX)?;
        for (key, span) in [
            ("op_timeout", self.op_timeout),
            ("fault_interval", self.fault_interval),
            ("fault_duration", self.fault_duration),
            ("time_limit", self.time_limit),
            ("start_limit", self.start_limit),
            ("recovery_limit", self.recovery_limit),
        ] {
            if span.0.is_zero() {
                return Err(Error::setting(&format!("{key} = \"{span}\""), "longer than nothing"));
            }
        }
        if let Some(rate) = self.rate
            && !(rate.is_finite() && rate > 0.0)
        {
            let wanted = "a number of operations per second above 0";
            return Err(Error::setting(&format!("rate = {rate}"), wanted));
        }
        let Timing { election_timeout_ms_min: min, election_timeout_ms_max: max, heartbeat_ms } =
            self.timing;
        if heartbeat_ms == 0 || heartbeat_ms >= min || min >= max {
            let given = format!(
                "heartbeat_ms = {heartbeat_ms}, election_timeout_ms_min = {min}, \
                 election_timeout_ms_max = {max}"
            );
            let wanted = "a usable timing: 0 < heartbeat < shortest < longest election timeout";
            return Err(Error::setting(&given, wanted));
        }
        Ok(())
    }
}

/// Reads TOML into a type that denies unknown fields. For scenarios, system files and their like.
///
/// # Errors
/// [`Error::Config`] with `path`, line and column.
pub fn parse_toml<T: serde::de::DeserializeOwned>(text: &str, path: &Path) -> Result<T, Error> {
    toml::from_str(text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start).min(text.len());
        let before = text.get(..start).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Error::Config {
            path: path.to_path_buf(),
            line: before.matches('\n').count() as u64 + 1,
            column: before[line_start..].chars().count() as u64 + 1,
            problem: error.message().trim_end().replace('\n', "; "),
        }
    })
}

/// Seeds to run with: one, `7`, or a range without its end, `1..51`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seeds(pub std::ops::Range<u64>);

impl FromStr for Seeds {
    type Err = Error;
    fn from_str(text: &str) -> Result<Seeds, Error> {
        let wanted = "a seed such as `7`, or seeds from one to before another such as `1..51`";
        let number = |text: &str| text.parse::<u64>().map_err(|_| ());
        let range = match text.split_once("..") {
            Some((first, end)) => number(first).and_then(|first| Ok(first..number(end)?)),
            None => number(text).and_then(|seed| Ok(seed..seed.checked_add(1).ok_or(())?)),
        };
        match range {
            Ok(range) if !range.is_empty() => Ok(Seeds(range)),
            _ => Err(Error::setting(text, wanted)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Scenario, Error> {
        parse_toml(text, Path::new("s.toml"))
    }

    #[test]
    fn flags_win_over_the_file_and_defaults_fill_the_rest() {
        let file = parse(
            "nodes = 3\nclients = 4\nfaults = []\ntime_limit = \"20s\"\nrate = 100.0\n\
             bug = [\"no-vote\"]\n[timing]\nheartbeat_ms = 20\n",
        )
        .unwrap();
        let flags = Scenario {
            clients: Some(7),
            timing: TimingKeys { election_timeout_ms_max: Some(900), ..TimingKeys::default() },
            ..Scenario::default()
        };
        let resolved = file.overlaid_by(flags).resolve().unwrap();
        assert_eq!((resolved.nodes, resolved.clients, resolved.keys), (3, 7, 5));
        assert_eq!(resolved.faults, Vec::<String>::new());
        assert_eq!(resolved.time_limit.0, Duration::from_secs(20));
        let Timing { election_timeout_ms_max, heartbeat_ms, .. } = resolved.timing;
        assert_eq!((election_timeout_ms_max, heartbeat_ms), (900, 20));
        assert_eq!(resolved.rate, Some(100.0));
    }

    #[test]
    fn errors_name_line_column_and_what_would_be_right() {
        for (text, expected) in [
            ("nodes = 3\nnode = 4\n", "s.toml:2:1: unknown field `node`, expected one of `system`"),
            ("\ntime_limit = 60\n", "s.toml:2:14: "),
            ("time_limit = \"60\"", "`60` is not a duration"),
            ("nodes = ", "s.toml:1:"),
            ("[timing]\nheartbeat = 3\n", "s.toml:2:1: unknown field `heartbeat`"),
            ("mode = \"udp\"", "expected one of `tcp`, `stdio`, `lockstep`"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text:?} gives {error}");
        }
    }

    #[test]
    fn values_that_make_no_sense_are_named() {
        for (text, expected) in [
            ("nodes = 0", "`nodes = 0` is not from 1 to 63"),
            ("time_limit = \"0s\"", "time_limit"),
            ("rate = nan", "rate"),
            ("[timing]\nheartbeat_ms = 5000", "heartbeat_ms = 5000"),
        ] {
            let error = parse(text).unwrap().resolve().unwrap_err().to_string();
            assert!(error.contains(expected), "{text:?} gives {error}");
        }
    }

    #[test]
    fn a_resolved_scenario_round_trips_and_every_key_is_listed() {
        let resolved = Resolved { seed: Some(u64::MAX), ..Resolved::default() };
        let json = serde_json::to_value(&resolved).unwrap();
        for key in KEYS {
            assert!(json.get(key).is_some(), "{key}");
        }
        assert_eq!(json.as_object().unwrap().len(), KEYS.len());
        assert_eq!(serde_json::from_value::<Resolved>(json.clone()).unwrap(), resolved);
        let mut older = json;
        older.as_object_mut().unwrap().remove("start_limit");
        assert_eq!(serde_json::from_value::<Resolved>(older).unwrap(), resolved);
    }

    #[test]
    fn seeds() {
        for (text, expected) in [
            ("7", Some(7..8)),
            ("1..51", Some(1..51)),
            ("5..5", None),
            ("x", None),
            ("-1", None),
            ("18446744073709551615", None),
        ] {
            assert_eq!(text.parse::<Seeds>().ok().map(|seeds| seeds.0), expected, "{text}");
        }
    }

    /// `docs/SCENARIOS.md` is what users read: each key with its default.
    #[test]
    fn the_documentation_names_every_key_and_its_default() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/SCENARIOS.md");
        let page = std::fs::read_to_string(path).unwrap();
        let defaults = serde_json::to_value(Resolved::default()).unwrap();
        for key in KEYS.iter().filter(|key| !matches!(**key, "seed" | "rate" | "timing")) {
            let default = serde_json::to_string(&defaults[key]).unwrap();
            let row = format!("| `{key}` | `{default}` |");
            assert!(page.contains(&row), "no row {row}");
        }
        for key in ["`seed`", "`rate`", "`timing."] {
            assert!(page.contains(key), "no row for {key}");
        }
    }
}
