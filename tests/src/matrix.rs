//! Runs each scenario with each pairing of the two programs and compares what comes out.
//!
//! A cell is a scenario in a pairing. Its steps:
//! 1. make the tree anew and run the reference at both ends, at least twice: what it does is the
//!    set of its outcomes, since some of its output depends on the clock;
//! 2. make the tree anew and run each form with ours at one end or both;
//! 3. compare the trees, the exit code and both outputs, line by line in their order.
//!
//! An outcome of ours is right when it equals one of the reference's; lines of two processes may
//! mix otherwise, each in its order.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::lines::{by_speaker, difference, normalise};
use crate::peer::{Programs, Server, Side, run};
use crate::report::{self, Difference, What};
use crate::scenario::{self, Scenario};
use crate::tree_text;

/// Time for one command.
const COMMAND_MAX: Duration = Duration::from_secs(10);
/// Cells that run at the same time.
const WORKERS: usize = 3;
/// The same with daemons, where most of the time is spent waiting.
const DAEMON_WORKERS: usize = 6;
/// Runs of the reference when the first two are not alike.
const NOISY_RUNS: usize = 6;
/// Runs of ours, when it differs from a reference that is not alike itself.
const NOISY_TRIES: usize = 4;

/// Stands in for a remote shell: like ssh it drops the host, joins the words and has a shell read
/// them, in the directory that it is started in.
const SHELL: &str = "#!/bin/sh\nshift\nexec /bin/sh -c \"$*\"\n";

/// The end of the line with which ours refuses an option by name.
const REFUSAL: &str = " is not supported yet";

/// How the two ends meet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pairing {
    /// One command, no peer.
    Local,
    /// The client sends through a remote shell.
    ShellPush,
    /// The client receives through a remote shell.
    ShellPull,
    /// The client sends to a daemon.
    DaemonPush,
    /// The client receives from a daemon.
    DaemonPull,
}

/// What a group does otherwise than usual; most take only rows with the mark `variants`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Variant {
    /// Nothing.
    Plain,
    /// The client forces this protocol version.
    Protocol(u32),
    /// The daemon does not change its root directory.
    NoChroot,
    /// The client only tells what it would do, and nothing may change; with a daemon only for the
    /// rows with the mark `variants`.
    DryRun,
}

impl Variant {
    fn means(self, scenario: &Scenario, pairing: Pairing) -> bool {
        match self {
            Variant::Plain => true,
            Variant::DryRun if scenario.dry || scenario.dest.is_none() => false,
            Variant::DryRun => scenario.variants || pairing == Local,
            Variant::Protocol(..29) => scenario.older,
            Variant::Protocol(29) => scenario.old,
            Variant::Protocol(_) | Variant::NoChroot => scenario.variants,
        }
    }

    fn suffix(self) -> String {
        match self {
            Variant::Plain => String::new(),
            Variant::Protocol(version) => format!("-p{version}"),
            Variant::NoChroot => "-nochroot".to_owned(),
            Variant::DryRun => "-dry".to_owned(),
        }
    }
}

use Pairing::{DaemonPull, DaemonPush, Local, ShellPull, ShellPush};
use Side::{Ours, Theirs};

impl Pairing {
    fn word(self) -> &'static str {
        match self {
            Local => "local",
            ShellPush => "shell-push",
            ShellPull => "shell-pull",
            DaemonPush => "daemon-push",
            DaemonPull => "daemon-pull",
        }
    }

    /// (client, server) of each form with ours in it.
    fn forms(self) -> &'static [(Side, Side)] {
        match self {
            Local => &[(Ours, Ours)],
            _ => &[(Ours, Theirs), (Theirs, Ours), (Ours, Ours)],
        }
    }

    fn daemon(self) -> bool {
        matches!(self, DaemonPush | DaemonPull)
    }

    fn means(self, scenario: &Scenario) -> bool {
        match self {
            Local => scenario.local,
            DaemonPush | DaemonPull if !scenario.daemon => false,
            ShellPush | DaemonPush => scenario.remote && scenario.dest.is_some(),
            ShellPull | DaemonPull => scenario.remote,
        }
    }
}

/// Everything of a group that its cells share.
struct Group {
    programs: Programs,
    scratch: PathBuf,
    pairing: Pairing,
    variant: Variant,
    /// Whether ours can be the server; told by a trial start where that is a daemon.
    serves: bool,
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.scratch);
    }
}

/// What one run of a scenario left and said.
#[derive(Clone, PartialEq, Eq)]
struct Outcome {
    exit: Vec<Option<i32>>,
    stdout: Vec<String>,
    stderr: Vec<String>,
    source: Vec<String>,
    tree: Vec<String>,
}

impl Outcome {
    /// The same without the order of the lines of standard output.
    fn sorted(&self) -> Outcome {
        let mut sorted = self.clone();
        sorted.stdout.sort();
        sorted
    }
}

/// Runs all scenarios in one pairing, once for each of `variants`.
///
/// `LIVEMIRROR_MATRIX=TEXT[,TEXT]` keeps only cells whose `SCENARIO PAIRING` holds one of the texts.
///
/// # Panics
/// When a cell differs that the list of expected differences does not name, or the reverse.
pub fn check(pairing: Pairing, variants: &[Variant]) {
    let Some(programs) = Programs::find() else {
        println!("left out: no reference program (LIVEMIRROR_NO_ORACLE=1)");
        return;
    };
    // Groups take turns: together they would only slow each other down.
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let text: String =
        variants.iter().map(|variant| check_in_turn(programs, pairing, *variant)).collect();
    drop(turn);
    assert!(text.is_empty(), "\n{text}");
}

fn check_in_turn(programs: &Programs, pairing: Pairing, variant: Variant) -> String {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let label = variant.suffix();
    let name = format!("livemirror-{}{label}-{}", pairing.word(), std::process::id());
    let scratch = scratch_base().join(name);
    std::fs::create_dir(&scratch).expect("a scratch directory");
    std::fs::create_dir(scratch.join("home")).expect("a home");
    let programs = programs.with_copy_of_ours(scratch.join("livemirror"));
    std::fs::write(scratch.join("shell"), SHELL).expect("a remote shell");
    std::fs::set_permissions(scratch.join("shell"), PermissionsExt::from_mode(0o755)).unwrap();
    let mut group = Group { programs, scratch, pairing, variant, serves: true };
    let trial = group.trial();
    group.serves = trial.is_ok();

    let start = Instant::now();
    let filter = std::env::var("LIVEMIRROR_MATRIX").unwrap_or_default();
    let wanted = |s: &Scenario| {
        let cell = format!("{} {}{label}", s.name, pairing.word());
        filter.split(',').any(|part| cell.contains(part))
    };
    let scenarios: Vec<Scenario> = scenario::all()
        .into_iter()
        .filter(|s| pairing.means(s) && wanted(s) && variant.means(s, pairing))
        .collect();
    let (next, found) = (AtomicUsize::new(0), Mutex::new((Vec::new(), Vec::new())));
    std::thread::scope(|threads| {
        for _ in 0..if pairing.daemon() { DAEMON_WORKERS } else { WORKERS } {
            threads.spawn(|| {
                while let Some(scenario) = scenarios.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let (cells, differences) = group.cell(scenario);
                    let mut found = found.lock().expect("no panic while it is held");
                    found.0.extend(cells);
                    found.1.extend(differences);
                }
            });
        }
    });
    let (ran, mut found) = found.into_inner().expect("no panic while it is held");
    if let Err(text) = trial {
        let lines = vec!["(no server of ours)".to_owned(), text];
        let (scenario, cell) = ("every-one".to_owned(), group.label(Theirs, Ours));
        found.push(Difference { scenario, cell, what: What::Setup, lines });
    }
    let seconds = start.elapsed().as_secs();
    report::write(&found, &format!("{}: {} cells in {seconds} s\n", group.word(), ran.len()));
    report::judge(&ran, &found)
}

/// Where cells take place: tens of thousands of small trees come and go, which costs a file system in
/// memory a fraction of what it costs a disk. `TMPDIR` decides where it is set.
fn scratch_base() -> PathBuf {
    const ROOM: u64 = 4 << 30;
    let memory = Path::new("/dev/shm");
    let noexec = rustix::fs::StatVfsMountFlags::NOEXEC;
    let roomy = rustix::fs::statvfs(memory)
        .is_ok_and(|fs| fs.f_bavail * fs.f_frsize > ROOM && !fs.f_flag.contains(noexec));
    let writable = rustix::fs::access(memory, rustix::fs::Access::WRITE_OK).is_ok();
    match std::env::var_os("TMPDIR") {
        None if roomy && writable => memory.to_path_buf(),
        _ => std::env::temp_dir(),
    }
}

impl Group {
    /// Starts a daemon of ours once, so that its absence is told once.
    fn trial(&self) -> Result<(), String> {
        if self.pairing.daemon() {
            Servers::default().port(self, Ours, &self.scratch, "trial")?;
        }
        Ok(())
    }

    /// Runs one scenario; its cells as (scenario, cell), and what differs in them.
    fn cell(&self, scenario: &Scenario) -> (Vec<(String, String)>, Vec<Difference>) {
        let mut servers = Servers::default();
        let mut outcomes: Vec<Outcome> = Vec::new();
        let (mut ran, mut found) = (Vec::new(), Vec::new());
        let command = self.shown(scenario);
        let mut note = |cell: &str, what: What, lines: Vec<String>| {
            let lines = std::iter::once(command.clone()).chain(lines).collect();
            let (scenario, cell) = (scenario.name.clone(), cell.to_owned());
            found.push(Difference { scenario, cell, what, lines });
        };
        let dry = self.variant == Variant::DryRun;
        let runs = if dry { 1 } else { 2 };
        if let Err(text) = self.references(scenario, runs, &mut servers, &mut outcomes) {
            note(&self.label(Theirs, Theirs), What::Setup, vec![text]);
            return (ran, found);
        }
        let word = self.word();
        let special = scenario.exit_in.iter().find(|(name, _)| *name == word);
        let exit = special.map_or(scenario.exit, |(_, code)| *code);
        // What would fail need not fail in a dry run.
        let as_meant = |o: &Outcome| dry || o.exit.iter().all(|code| *code == Some(exit));
        if !outcomes.iter().any(as_meant)
            && let Err(text) = self.references(scenario, NOISY_RUNS, &mut servers, &mut outcomes)
        {
            note(&self.label(Theirs, Theirs), What::Setup, vec![text]);
        }
        if !outcomes.iter().any(as_meant) {
            let said = format!("the reference ends with {:?}", outcomes[0].exit);
            let mut lines = vec![said];
            lines.extend(outcomes[0].stderr.iter().cloned());
            note(&self.label(Theirs, Theirs), What::Setup, lines);
        }
        let forms = if dry { &[(Ours, Ours)] } else { self.pairing.forms() };
        for &(client, server) in forms {
            if server == Ours && !self.serves {
                continue;
            }
            let label = self.label(client, server);
            match self.differences(scenario, client, server, &mut servers, &mut outcomes) {
                Ok(parts) => parts.into_iter().for_each(|(what, lines)| note(&label, what, lines)),
                Err(text) => note(&label, What::Setup, vec![text]),
            }
            ran.push((scenario.name.clone(), label));
        }
        (ran, found)
    }

    /// Runs the reference at both ends `runs` times, and more often if it is not alike; adds what is
    /// new to `outcomes`.
    fn references(
        &self,
        scenario: &Scenario,
        runs: usize,
        servers: &mut Servers,
        outcomes: &mut Vec<Outcome>,
    ) -> Result<(), String> {
        for attempt in 0..NOISY_RUNS {
            if attempt >= runs && outcomes.len() == 1 {
                break;
            }
            let outcome = self.observe(scenario, Theirs, Theirs, servers)?;
            if !outcomes.contains(&outcome) {
                outcomes.push(outcome);
            }
        }
        Ok(())
    }

    /// What differs when ours plays a part. Where only the order of lines does, the reference gets
    /// more runs to show that it has no order of its own, and so do we where it has none.
    fn differences(
        &self,
        scenario: &Scenario,
        client: Side,
        server: Side,
        servers: &mut Servers,
        outcomes: &mut Vec<Outcome>,
    ) -> Result<Vec<(What, Vec<String>)>, String> {
        let mut ours = self.observe(scenario, client, server, servers)?;
        if !right(outcomes, &ours) {
            self.references(scenario, NOISY_RUNS, servers, outcomes)?;
        }
        let mut tries = 1;
        while outcomes.len() > 1 && tries < NOISY_TRIES && !right(outcomes, &ours) {
            ours = self.observe(scenario, client, server, servers)?;
            tries += 1;
        }
        if right(outcomes, &ours) {
            return Ok(Vec::new());
        }
        let sorted = ours.sorted();
        match outcomes.iter().find(|o| o.sorted() == sorted) {
            None => Ok(compare(outcomes, &ours)),
            Some(alike) => Ok(vec![(What::Order, difference(&alike.stdout, &ours.stdout))]),
        }
    }

    fn word(&self) -> String {
        format!("{}{}", self.pairing.word(), self.variant.suffix())
    }

    fn label(&self, client: Side, server: Side) -> String {
        format!("{}:{}-{}", self.word(), client.word(), server.word())
    }

    /// The scenario's command line for a reader.
    fn shown(&self, scenario: &Scenario) -> String {
        let words = scenario.options.iter().chain(&scenario.sources).chain(&scenario.dest);
        let words: Vec<String> = words.map(|w| w.escape_ascii().to_string()).collect();
        format!("$ rsync {}", words.join(" "))
    }

    /// Makes the tree anew, runs the command, and tells what came of it.
    fn observe(
        &self,
        scenario: &Scenario,
        client: Side,
        server: Side,
        servers: &mut Servers,
    ) -> Result<Outcome, String> {
        let dir = self.scratch.join("runs").join(&scenario.name);
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).expect("a directory to run in");
        tree_text::make(&dir, &scenario.tree);
        let port = match self.pairing.daemon() {
            true => servers.port(self, server, &dir, &scenario.name)?,
            false => 0,
        };
        let stdin = match &scenario.stdin {
            Some(name) => std::fs::read(dir.join(name)).expect("the input that the mark names"),
            None => Vec::new(),
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
        // The kernel stamps files with a clock that lags a little.
        let fresh_from = now.as_secs() as i64 - 1;
        let mut outcome = Outcome {
            exit: Vec::new(),
            stdout: Vec::new(),
            stderr: Vec::new(),
            source: Vec::new(),
            tree: Vec::new(),
        };
        let places = self.places(&dir);
        let dry = self.variant == Variant::DryRun;
        let before = dry.then(|| tree_text::dump(&dir, None));
        for _ in 0..if scenario.twice { 2 } else { 1 } {
            let command = self.command(scenario, client, server, &dir, port);
            let result = run(command, stdin.clone(), COMMAND_MAX);
            outcome.exit.push(result.code);
            outcome.stdout.extend(normalise(&result.stdout, &places));
            outcome.stderr.extend(normalise(&result.stderr, &places));
        }
        if before.is_some_and(|before| before != tree_text::dump(&dir, None)) {
            outcome.stderr.push("(the dry run changed something)".to_owned());
        }
        // Who reads what is nobody's business but where it is asked for.
        let all = match scenario.name.contains("atime") {
            true => tree_text::dump_with_access(&dir, fresh_from),
            false => tree_text::dump(&dir, Some(fresh_from)),
        };
        (outcome.source, outcome.tree) = all.into_iter().partition(|l| l.starts_with("src"));
        let _ = std::fs::remove_dir_all(&dir);
        Ok(outcome)
    }

    /// Texts of a run that depend on where it is made, and what is compared in their place.
    fn places(&self, dir: &Path) -> [(String, &'static str); 4] {
        let text = |path: &Path| path.to_str().expect("a path in UTF-8").to_owned();
        let [ours, theirs] = [Ours, Theirs].map(|side| self.programs.words(side).join(" "));
        [
            (text(dir), "$T"),
            (format!("\"{ours}\""), "RSYNC"),
            (format!("{theirs} --server"), "RSYNC --server"),
            (text(&self.scratch), "$S"),
        ]
    }

    fn command(
        &self,
        scenario: &Scenario,
        client: Side,
        server: Side,
        dir: &Path,
        port: u16,
    ) -> Command {
        let words = self.programs.words(client);
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).current_dir(dir).env_clear();
        if scenario.user {
            command.uid(1000).gid(1000);
        }
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.scratch.join("home")).env("LC_ALL", "C").env("TZ", "UTC");
        if matches!(self.pairing, ShellPush | ShellPull) {
            command.arg("-e").arg(self.scratch.join("shell"));
            command.arg(format!("--rsync-path={}", self.programs.words(server).join(" ")));
        }
        match self.variant {
            Variant::Protocol(version) => drop(command.arg(format!("--protocol={version}"))),
            Variant::DryRun => drop(command.arg("--dry-run")),
            Variant::Plain | Variant::NoChroot => {}
        }
        let pushes = matches!(self.pairing, ShellPush | DaemonPush);
        let pulls = matches!(self.pairing, ShellPull | DaemonPull);
        let place = |path: &[u8], remote: bool| {
            let start = match (remote, self.pairing.daemon()) {
                (false, _) => String::new(),
                (true, false) => "host:".to_owned(),
                (true, true) => format!("rsync://127.0.0.1:{port}/m/"),
            };
            OsString::from_vec([start.as_bytes(), path].concat())
        };
        command.args(scenario.options.iter().map(|word| OsString::from_vec(word.clone())));
        command.args(scenario.sources.iter().map(|path| place(path, pulls)));
        command.args(scenario.dest.iter().map(|path| place(path, pushes)));
        command
    }
}

/// Daemons of a cell, started when first needed.
#[derive(Default)]
struct Servers {
    ours: Option<Server>,
    theirs: Option<Server>,
}

impl Servers {
    fn port(&mut self, group: &Group, side: Side, dir: &Path, name: &str) -> Result<u16, String> {
        let slot = match side {
            Ours => &mut self.ours,
            Theirs => &mut self.theirs,
        };
        if let Some(server) = slot {
            return Ok(server.port);
        }
        let file = |end: &str| group.scratch.join(format!("{name}.{}.{end}", side.word()));
        let chroot = if group.variant == Variant::NoChroot { "no" } else { "yes" };
        let config = format!(
            "use chroot = {chroot}\nuid = 0\ngid = 0\nread only = no\nmunge symlinks = no\n\
             max verbosity = 4\nlog file = {}\n[m]\npath = {}\n",
            file("log").display(),
            dir.display()
        );
        std::fs::write(file("conf"), config).expect("a configuration");
        let server = Server::start(&group.programs.words(side), &file("conf"), &file("out"))?;
        Ok(slot.insert(server).port)
    }
}

/// Whether an outcome is one of the reference's, but for how the lines of two processes mix.
fn right(outcomes: &[Outcome], ours: &Outcome) -> bool {
    outcomes.contains(ours)
        || outcomes.iter().any(|o| {
            o.sorted() == ours.sorted() && by_speaker(&o.stdout) == by_speaker(&ours.stdout)
        })
}

/// What differs between an outcome and the nearest of the reference's.
fn compare(outcomes: &[Outcome], ours: &Outcome) -> Vec<(What, Vec<String>)> {
    let refusal = |line: &&String| line.contains("livemirror: ") && line.ends_with(REFUSAL);
    if let Some(line) = ours.stderr.iter().find(refusal) {
        return vec![(What::Refused, vec![line.clone()])];
    }
    let differences = |theirs: &Outcome| {
        let mut out = Vec::new();
        if ours.exit.contains(&None) {
            out.push((What::Time, vec![format!("no end after {COMMAND_MAX:?}")]));
        } else if theirs.exit != ours.exit {
            let codes = |exit: &[Option<i32>]| {
                format!("exit {:?}", exit.iter().flatten().collect::<Vec<_>>())
            };
            let lines =
                vec![format!("- {}", codes(&theirs.exit)), format!("+ {}", codes(&ours.exit))];
            out.push((What::Exit, lines));
        }
        let parts = [
            (What::Source, &theirs.source, &ours.source),
            (What::Tree, &theirs.tree, &ours.tree),
            (What::Stdout, &theirs.stdout, &ours.stdout),
            (What::Stderr, &theirs.stderr, &ours.stderr),
        ];
        for (what, theirs, ours) in parts {
            let lines = difference(theirs, ours);
            if !lines.is_empty() {
                out.push((what, lines));
            }
        }
        out
    };
    outcomes.iter().map(differences).min_by_key(Vec::len).unwrap_or_default()
}
