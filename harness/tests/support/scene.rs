//! Runs the `whitewater` program as its users do, in a directory of the test's own, and looks for
//! what is left of it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value as Json;
use whitewater::guardian::{NODE_VARIABLE, Process, process_table};

use crate::support::{MARK, example, marked, wait_until, whitewater};

/// How a guardian can be told to hold its processes.
pub const GUARDIAN_MODES: [&str; 2] = ["subreaper", "namespace"];

/// A directory for runs, and the processes that were started for it.
pub struct Scene {
    dir: tempfile::TempDir,
    mark: String,
    started: AtomicU32,
}

/// The program under way.
pub struct Running {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
    args: String,
}

/// What came of the program.
#[derive(Debug)]
pub struct Outcome {
    /// Its exit code; `None`: a signal ended it.
    pub code: Option<i32>,
    /// What it printed as results.
    pub stdout: String,
    /// What it printed beside them.
    pub stderr: String,
    /// What it was asked, to be found in a test's failure.
    pub args: String,
}

impl Scene {
    /// An empty directory.
    pub fn new(name: &str) -> Scene {
        // Scenes of one name may be played at the same time and must not end each other's
        // processes.
        static SCENES: AtomicU32 = AtomicU32::new(0);
        let number = SCENES.fetch_add(1, Ordering::Relaxed);
        Scene {
            dir: tempfile::Builder::new().prefix("whitewater-e2e-").tempdir().unwrap(),
            mark: format!("{name}-{}-{number}", std::process::id()),
            started: AtomicU32::new(0),
        }
    }

    /// A path in the scene's directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file and gives its path as text.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    }

    /// Writes the system file of the misbehaving node in one of its modes. It promises nothing,
    /// because it keeps everything in memory.
    pub fn misbehaving(&self, behaviour: &str) -> String {
        let program = example("misbehaving-node").display().to_string();
        self.system("misbehaving", &program, &[behaviour, "{config}"])
    }

    /// Writes a system file for this program.
    pub fn system(&self, name: &str, program: &str, args: &[&str]) -> String {
        let command: Vec<&str> = [&[program], args].concat();
        let text = format!(
            "name = {name:?}\ncommand = {command:?}\n[env]\n{MARK} = {:?}\n[model]\n\
             family = \"raft\"\ndurable = false\nretry_safe = false\npeer_delivery = \"fifo\"\n",
            self.mark
        );
        self.file(&format!("{name}.toml"), text)
    }

    /// Starts the program with these arguments (words separated by blanks) and environment.
    pub fn start_with(&self, args: &str, env: &[(&str, &str)]) -> Running {
        let mut command = Command::new(whitewater());
        command.args(args.split_whitespace());
        self.spawn(command, args, env)
    }

    /// Starts another program that runs ours.
    pub fn spawn(&self, mut command: Command, args: &str, env: &[(&str, &str)]) -> Running {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let stdout = self.path(&format!("stdout.{number}"));
        let stderr = self.path(&format!("stderr.{number}"));
        let child = command
            .current_dir(self.dir.path())
            .env(MARK, &self.mark)
            .env_remove("RUST_BACKTRACE")
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stdout(File::create(&stdout).unwrap())
            .stderr(File::create(&stderr).unwrap())
            .spawn()
            .unwrap();
        Running { child, stdout, stderr, args: args.to_owned() }
    }

    /// Runs the program to its end.
    pub fn whitewater(&self, args: &str) -> Outcome {
        self.start_with(args, &[]).finish()
    }

    /// The run directories under `out`, oldest first.
    pub fn runs(&self, out: &str) -> Vec<PathBuf> {
        let Ok(entries) = std::fs::read_dir(self.path(out)) else { return Vec::new() };
        let mut runs: Vec<PathBuf> = entries
            .filter_map(Result::ok)
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .map(|entry| entry.path())
            .filter(|path| path.join("run.json").exists())
            .collect();
        runs.sort();
        runs
    }

    /// The only run under `out`.
    pub fn only_run(&self, out: &str) -> PathBuf {
        let runs = self.runs(out);
        assert_eq!(runs.len(), 1, "{runs:?}");
        runs[0].clone()
    }

    /// Living processes that belong to this scene: by their mark, their variable, or a path of
    /// ours among their arguments.
    pub fn living(&self) -> Vec<Process> {
        let ours = self.dir.path().display().to_string();
        let run_ids: Vec<String> = std::fs::read_dir(self.path("out"))
            .map(|entries| {
                let names = entries.filter_map(Result::ok);
                names.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
            })
            .unwrap_or_default();
        let mut living = marked(&self.mark);
        living.extend(process_table().into_iter().filter(|process| {
            let args = std::fs::read(format!("/proc/{}/cmdline", process.pid)).unwrap_or_default();
            let node = process.variable(NODE_VARIABLE).unwrap_or_default();
            process.is_alive()
                && (String::from_utf8_lossy(&args).contains(&ours)
                    || run_ids.iter().any(|id| id != "latest" && node.contains(id.as_str())))
        }));
        living
    }

    /// Waits until no process belongs to this scene.
    pub fn wait_nothing_left(&self) {
        wait_until("nothing of the run is left", || self.living().is_empty());
    }
}

impl Drop for Scene {
    /// A test that failed half-way leaves no process behind.
    fn drop(&mut self) {
        for process in self.living() {
            let _ = process.signal(rustix::process::Signal::KILL);
        }
    }
}

impl Running {
    /// Its process.
    pub fn pid(&self) -> nix::unistd::Pid {
        nix::unistd::Pid::from_raw(self.child.id().cast_signed())
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits until it has ended.
    pub fn finish(mut self) -> Outcome {
        wait_until(&format!("`whitewater {}` ended", self.args), || self.has_ended());
        let status = self.child.wait().unwrap();
        let read = |path: &Path| {
            let bytes = std::fs::read(path).unwrap();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        Outcome {
            code: status.code(),
            stdout: read(&self.stdout),
            stderr: read(&self.stderr),
            args: self.args,
        }
    }
}

impl Outcome {
    /// The same, if the exit code is this one.
    #[track_caller]
    pub fn expect(self, code: u8) -> Outcome {
        assert_eq!(self.code, Some(code.into()), "{self}");
        self
    }

    /// Standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> Json {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self}"))
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "`whitewater {}` ended with {:?}", self.args, self.code)?;
        writeln!(f, "--- stdout\n{}--- stderr\n{}", self.stdout, self.stderr)
    }
}

/// A JSON file.
pub fn read_json(path: &Path) -> Json {
    let text = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The check of this name in a verdict.
pub fn check<'a>(verdict: &'a Json, name: &str) -> &'a Json {
    let checks = verdict["checks"].as_array().expect("a verdict has checks");
    checks
        .iter()
        .find(|check| check["name"] == name)
        .unwrap_or_else(|| panic!("no check {name} in {verdict}"))
}

/// The checks of a verdict with their own verdicts, as `name verdict`.
pub fn judged(verdict: &Json) -> Vec<String> {
    let checks = verdict["checks"].as_array().expect("a verdict has checks");
    let text = |value: &Json| value.as_str().expect("a name").to_owned();
    checks.iter().map(|c| format!("{} {}", text(&c["name"]), text(&c["verdict"]))).collect()
}
