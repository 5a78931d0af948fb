//! A scratch directory with a source and a target, a sync between them, and tree comparison.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use livemirror_tests::churn;
use mirror::config::{SyncConfig, Trace};
use mirror::plan::batch::Batch;
use mirror::report::{Report, What};
use mirror::run::job::Transfer;
use mirror::run::shared::Shared;
use mirror::run::sync::{self, End, Reporter};
use mirror::status::SyncState;
use rsync::control::Control;
use rsync::options::FilterArg;
use rsync::problem::Outcome;
use wire::exit::ExitCode;

/// How long anything may take before a test gives up; never waited for in full by a passing test.
const PATIENCE: Duration = Duration::from_secs(60);

/// A scratch directory, removed at the end.
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn new() -> Scratch {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name =
            format!("lm-live-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let dir = std::env::temp_dir().join(name);
        for sub in ["src", "dst", "out"] {
            std::fs::create_dir_all(dir.join(sub)).unwrap();
        }
        Scratch(dir)
    }

    pub(crate) fn src(&self, path: &str) -> PathBuf {
        self.0.join("src").join(path)
    }

    pub(crate) fn dst(&self, path: &str) -> PathBuf {
        self.0.join("dst").join(path)
    }

    pub(crate) fn config(&self) -> SyncConfig {
        let mut source = self.src("").as_os_str().as_bytes().to_vec();
        if !source.ends_with(b"/") {
            source.push(b'/');
        }
        SyncConfig {
            delete: true,
            quiet_ms: 300,
            ..SyncConfig::new(&source, self.dst("").as_os_str().as_bytes())
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A sync at work.
pub(crate) struct Live {
    pub(crate) shared: Arc<Shared>,
    pub(crate) reports: Arc<Mutex<Vec<Report>>>,
    thread: Option<JoinHandle<End>>,
    markers: u32,
}

impl Live {
    pub(crate) fn start(config: SyncConfig, transfer: Box<dyn Transfer>) -> Live {
        Live::start_after(config, transfer, false)
    }

    /// Perhaps after a mirror of the same name that was killed.
    pub(crate) fn start_after(
        config: SyncConfig,
        transfer: Box<dyn Transfer>,
        after_killed: bool,
    ) -> Live {
        Live::spawn(config, Some(transfer), after_killed)
    }

    /// With the transfers of the program itself.
    pub(crate) fn start_own(config: SyncConfig) -> Live {
        Live::spawn(config, None, false)
    }

    fn spawn(config: SyncConfig, transfer: Option<Box<dyn Transfer>>, after_killed: bool) -> Live {
        let shared = Arc::new(Shared::new(&config).after_killed(after_killed));
        let reports: Arc<Mutex<Vec<Report>>> = Arc::default();
        let (inner, kept) = (Arc::clone(&shared), Arc::clone(&reports));
        let thread = std::thread::spawn(move || {
            let reporter: Reporter = Arc::new(move |report| kept.lock().unwrap().push(report));
            match transfer {
                Some(transfer) => {
                    sync::run_with(config, transfer, &inner, &reporter, Trace::default())
                }
                None => sync::run(config, &inner, &reporter, Trace::default()),
            }
        });
        Live { shared, reports, thread: Some(thread), markers: 0 }
    }

    /// Waits until the target has everything that was in the source before the call.
    pub(crate) fn settle(&mut self, scratch: &Scratch) {
        self.markers += 1;
        let name = format!("marker-{}", self.markers);
        std::fs::write(scratch.src(&name), b"").unwrap();
        self.until("the marker arrives", || scratch.dst(&name).exists());
        std::fs::remove_file(scratch.src(&name)).unwrap();
        self.until("the marker goes", || !scratch.dst(&name).exists());
        self.idle();
    }

    pub(crate) fn idle(&self) {
        self.until("the sync is idle", || self.shared.status().state == SyncState::Idle);
    }

    pub(crate) fn until(&self, what: &str, done: impl Fn() -> bool) {
        let start = Instant::now();
        while !done() {
            let lines: Vec<String> =
                self.reports.lock().unwrap().iter().map(Report::line).collect();
            let tail = lines.iter().rev().take(20).cloned().collect::<Vec<_>>().join("\n");
            assert!(
                start.elapsed() < PATIENCE,
                "waiting in vain until {what}: {:?}\n{tail}",
                self.shared.status()
            );
            assert!(
                self.thread.as_ref().is_some_and(|t| !t.is_finished()) || done(),
                "the sync ended while waiting until {what}:\n{tail}"
            );
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Asks for the end and returns how it ended.
    pub(crate) fn stop(mut self) -> End {
        self.shared.request_stop();
        self.thread.take().unwrap().join().unwrap()
    }

    /// Waits for the sync to end by itself.
    pub(crate) fn end(mut self) -> End {
        let thread = self.thread.take().unwrap();
        let start = Instant::now();
        while !thread.is_finished() {
            assert!(start.elapsed() < PATIENCE, "the sync does not end");
            std::thread::sleep(Duration::from_millis(2));
        }
        thread.join().unwrap()
    }

    pub(crate) fn count(&self, which: impl Fn(&What) -> bool) -> usize {
        self.reports.lock().unwrap().iter().filter(|r| which(&r.what)).count()
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.shared.request_stop();
    }
}

/// Transfers by the reference program.
pub(crate) struct Stock {
    config: SyncConfig,
    /// Called before each transfer; an exit code instead of or after it stands for a target in
    /// trouble.
    trouble: Box<dyn Fn(u32) -> Trouble + Send>,
    runs: AtomicU32,
}

pub(crate) enum Trouble {
    None,
    /// Nothing is done.
    Before(ExitCode),
    /// All is done, but the answer is lost.
    After(ExitCode),
}

impl Stock {
    pub(crate) fn new(config: &SyncConfig) -> Box<Stock> {
        Stock::with_trouble(config, |_| Trouble::None)
    }

    pub(crate) fn with_trouble(
        config: &SyncConfig,
        trouble: impl Fn(u32) -> Trouble + Send + 'static,
    ) -> Box<Stock> {
        Box::new(Stock {
            config: config.clone(),
            trouble: Box::new(trouble),
            runs: AtomicU32::new(0),
        })
    }

    fn run(&self, more: &[&str], names: Option<&[Vec<u8>]>) -> Outcome {
        let trouble = (self.trouble)(self.runs.fetch_add(1, Ordering::Relaxed));
        if let Trouble::Before(exit) = trouble {
            return outcome(exit);
        }
        let mut command = Command::new("rsync");
        command.arg("-a").args(more).stderr(Stdio::piped()).stdout(Stdio::null());
        if self.config.options.hard_links {
            command.arg("-H");
        }
        for filter in &self.config.options.filters {
            let FilterArg::Exclude(pattern) = filter else { panic!("only excludes here") };
            command.arg(format!("--exclude={}", String::from_utf8_lossy(pattern)));
        }
        if names.is_some() {
            command.args(["--from0", "--files-from=-"]).stdin(Stdio::piped());
        }
        let path = |bytes: &[u8]| std::ffi::OsStr::from_bytes(bytes).to_owned();
        command.arg(path(&self.config.base_and_prefix().0)).arg(path(&self.config.target));
        let mut child = command.spawn().unwrap();
        if let (Some(names), Some(mut stdin)) = (names, child.stdin.take()) {
            std::io::Write::write_all(&mut stdin, &names.join(&0)).unwrap();
        }
        let done = child.wait_with_output().unwrap();
        let exit = match trouble {
            Trouble::After(exit) => exit,
            _ => ExitCode::from_code(done.status.code().unwrap()).unwrap(),
        };
        let reason = String::from_utf8_lossy(&done.stderr).into_owned();
        Outcome { reason, ..outcome(exit) }
    }
}

/// An outcome that names no paths.
pub(crate) fn outcome(exit: ExitCode) -> Outcome {
    let complete = exit == ExitCode::Ok;
    let (reason, problems) = (exit.text().to_owned(), Vec::new());
    let status = exit.code();
    Outcome { exit, status, reason, problems, complete, files: 0, bytes: 0, deleted: 0 }
}

impl Transfer for Stock {
    fn full(&self, _: &Arc<Control>) -> Outcome {
        let delete: &[&str] = if self.config.delete { &["--delete", "--force"] } else { &[] };
        self.run(&[delete, &["--modify-window=-1"]].concat(), None)
    }

    fn batch(&self, batch: &Batch, _: &Arc<Control>) -> Outcome {
        let missing: &[&str] = match self.config.delete {
            true => &["--modify-window=-1", "--force", "--delete-missing-args"],
            false => &["--modify-window=-1", "--ignore-missing-args"],
        };
        let spare: &[&str] = match batch.gone_dirs && !self.config.options.filters.is_empty() {
            true => &["--delete"],
            false => &[],
        };
        let root = if batch.root { vec![b".".to_vec()] } else { Vec::new() };
        let whole: &[&str] = if self.config.delete { &["-r", "--delete"] } else { &["-r"] };
        let anew: &[&str] = if batch.anew { &["--ignore-times"] } else { &[] };
        let whole = [whole, anew].concat();
        let spare = [spare, anew].concat();
        let steps = [(&batch.subtrees, whole), (&batch.names, spare), (&root, Vec::new())];
        for (names, more) in steps.into_iter().filter(|(names, _)| !names.is_empty()) {
            let outcome = self.run(&[missing, more.as_slice()].concat(), Some(names));
            if outcome.exit != ExitCode::Ok {
                return outcome;
            }
        }
        outcome(ExitCode::Ok)
    }

    fn target_is_empty(&self, _: &Arc<Control>) -> Result<bool, Outcome> {
        let target = std::ffi::OsStr::from_bytes(&self.config.target);
        Ok(std::fs::read_dir(target).unwrap().count() == 0)
    }
}

/// A tree as text, an entry a line: all that a mirror must keep.
pub(crate) fn dump(root: &Path, links: bool) -> String {
    churn::dump(root, links).unwrap()
}

/// Compares source and target; says the first differences.
pub(crate) fn assert_equal(scratch: &Scratch, links: bool) {
    let (left, right) = (dump(&scratch.src(""), links), dump(&scratch.dst(""), links));
    let (missing, extra) = churn::differences(&left, &right);
    if !(missing.is_empty() && extra.is_empty()) {
        let [missing, extra] = [missing, extra].map(|l| l.into_iter().take(15).collect::<Vec<_>>());
        panic!("the trees differ\nonly in source: {missing:#?}\nonly in target: {extra:#?}");
    }
}
