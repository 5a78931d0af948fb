//! All syncs of a configuration, from start to a clean end.
//!
//! Called by the program. Each sync runs on a thread of its own (with one more for its watch); this
//! thread answers status requests, reports the progress of long comparisons, and passes the request
//! to end on. It returns when every sync has ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use wire::exit::ExitCode;

use super::initial::Meter;
use super::shared::Shared;
use super::sync::{self, End, Reporter};
use crate::config::Config;
use crate::report::{Report, What};
use crate::status::{Answerer, NoServer, Server, Status, SyncState, default_socket};
use crate::status_file::StatusWriter;

/// Runs a configuration until `stop` is set, or until every sync has ended by itself.
///
/// Returns `Ok` after a stop that was asked for, `FileSelect` when a sync had to end because its
/// source, target or system was not fit, and `Syntax` for a configuration that makes no sense or is
/// running already. Every message goes to `reporter`, which several threads may call at once.
pub fn run(
    config: Config,
    reporter: Box<dyn Fn(Report) + Send + Sync>,
    stop: Arc<AtomicBool>,
) -> ExitCode {
    let reporter: Reporter = Arc::from(reporter);
    let say = |what| reporter(Report { sync: config.name.clone(), what });
    let refuse = |text: String| {
        say(What::Stopped { text, remedy: String::new() });
        ExitCode::Syntax
    };
    if let Err(text) = config.check() {
        return refuse(text);
    }
    let server = match bind(&config) {
        Ok(server) => server,
        Err(NoServer::Taken(text)) => return refuse(text),
        Err(NoServer::Failed(text)) => {
            say(What::Warning { text: format!("no status socket: {text}") });
            None
        }
    };
    let after_killed = server.as_ref().is_some_and(|server| server.after_killed);
    let syncs: Vec<Arc<Shared>> = config
        .syncs
        .iter()
        .map(|sync| Arc::new(Shared::new(sync).after_killed(after_killed)))
        .collect();
    let ends = std::thread::scope(|scope| {
        let own = config.syncs.iter().zip(&syncs).filter(|(one, _)| !one.script);
        let threads = own.map(|(one, shared)| {
            let (one, reporter, config) = (one.clone(), &reporter, &config);
            scope.spawn(move || sync::run(one, shared, reporter, config.trace))
        });
        #[cfg(feature = "lua")]
        let threads = threads.chain(config.script.as_ref().map(|path| {
            let (config, syncs, reporter) = (&config, &syncs, &reporter);
            scope.spawn(move || crate::script::machine::run(path, config, syncs, reporter))
        }));
        let threads: Vec<_> = threads.collect();
        let mut watch =
            Overseer { config: &config, syncs: &syncs, meters: vec![None; syncs.len()] };
        let mut status_file = config.status_file.clone().map(StatusWriter::new);
        while !threads.iter().all(std::thread::ScopedJoinHandle::is_finished) {
            if stop.load(Ordering::Acquire) || syncs.iter().any(|shared| shared.ends_all()) {
                syncs.iter().for_each(|shared| shared.request_stop());
            }
            match &server {
                Some(server) => server.serve(TICK_MS, &|| watch.status()),
                None => std::thread::sleep(Duration::from_millis(TICK_MS.into())),
            }
            watch.progress(&reporter);
            if let Some(writer) = &mut status_file
                && let Err(text) = writer.keep(&|| watch.status(), &config)
            {
                say(What::Warning { text });
            }
        }
        threads.into_iter().map(|thread| thread.join()).collect::<Vec<_>>()
    });
    match ends.iter().all(|end| matches!(end, Ok(End::Asked))) {
        true => ExitCode::Ok,
        false => ExitCode::FileSelect,
    }
}

fn bind(config: &Config) -> Result<Option<Server>, NoServer> {
    use std::os::unix::ffi::OsStrExt;
    let path = match &config.socket {
        Some(path) => std::ffi::OsStr::from_bytes(path).into(),
        None => default_socket(Answerer::Mirror, &config.name).ok_or_else(|| {
            NoServer::Failed("XDG_RUNTIME_DIR is not set; name one with --socket".into())
        })?,
    };
    Server::bind(Answerer::Mirror, &path).map(Some)
}

/// What this thread knows of the syncs.
struct Overseer<'a> {
    config: &'a Config,
    syncs: &'a [Arc<Shared>],
    /// For each sync in a comparison: when it was last reported, and the measuring.
    meters: Vec<Option<(u64, Meter)>>,
}

impl Overseer<'_> {
    fn status(&self) -> Status {
        Status {
            name: self.config.name.clone(),
            pid: std::process::id(),
            syncs: self.syncs.iter().map(|shared| shared.status()).collect(),
        }
    }

    /// Reports how far comparisons are, once a second each.
    fn progress(&mut self, reporter: &Reporter) {
        for (shared, meter) in self.syncs.iter().zip(&mut self.meters) {
            let now = shared.now();
            let state = shared.lock();
            let control = Arc::clone(&state.control);
            let name = state.numbers.name.clone();
            let busy = matches!(state.numbers.state, SyncState::FirstPass | SyncState::Comparing);
            drop(state);
            if !busy {
                *meter = None;
                continue;
            }
            let (reported, meter) = meter.get_or_insert_with(|| (now, Meter::new(now)));
            if now.saturating_sub(*reported) >= PROGRESS_MS {
                *reported = now;
                let progress = meter.read(now, &control);
                reporter(Report { sync: name, what: What::Progress(progress) });
            }
        }
    }
}

/// Milliseconds in which a request to end is noticed.
const TICK_MS: u32 = 100;
/// Milliseconds between two reports of progress.
const PROGRESS_MS: u64 = 1000;
