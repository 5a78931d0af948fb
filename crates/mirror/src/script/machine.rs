//! The loop of all syncs with actions of their own.
//!
//! Each round takes in what happened, lets the program act on what is due, and waits for the next
//! moment. When the end is asked for nothing new is begun, and what runs is waited for, as lsyncd
//! does.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use mlua::{Function, Lua, Table};
use rsync::options::FilterArg;

use super::delays::{Delays, EventKind};
use super::state::{Message, ScriptSync, SharedState, State, install};
use crate::check::facts::resolved;
use crate::config::lsyncd::{Hosted, host};
use crate::config::{Config, SyncConfig};
use crate::plan::exclude::Exclude;
use crate::report::{Report, What};
use crate::run::guard::{GuardedSource, Refusal};
use crate::run::shared::{Shared, next_of};
use crate::run::sync::{End, Reporter};
use crate::status::SyncState;
use crate::watch::event::Event;
use crate::watch::{self, BackendChoice, Watcher};

/// Runs the program at `path` for those syncs of `config` that are its own, until the end is asked
/// for or comes by itself, which then is that of all.
pub fn run(path: &Path, config: &Config, shared: &[Arc<Shared>], reporter: &Reporter) -> End {
    let over = AtomicBool::new(false);
    let (sender, messages) = channel();
    let end = std::thread::scope(|scope| {
        let mut watch = |at: usize, watcher: Watcher| {
            let (sender, over) = (sender.clone(), &over);
            scope.spawn(move || follow(at, watcher, &sender, over));
        };
        let started = Machine::start(path, config, shared, reporter, sender.clone(), &mut watch);
        let end = match started {
            // Alarms alone do not keep a single pass from its end.
            Ok(machine) if machine.is_alone && config.syncs.iter().all(|s| s.once.is_some()) => {
                End::Asked
            }
            Ok(machine) => machine.work(shared, &messages),
            Err(refusal) => End::Refused(refusal),
        };
        over.store(true, Ordering::Release);
        end
    });
    if let End::Refused(refusal) = &end
        && config.syncs.iter().all(|sync| !sync.script)
    {
        // A function that an alarm called ends all, as an action does.
        let (text, remedy) = (refusal.text.clone(), refusal.remedy.clone());
        reporter(Report { sync: config.name.clone(), what: What::Stopped { text, remedy } });
        shared.iter().for_each(|shared| shared.end_all());
    }
    for (sync, shared) in config.syncs.iter().zip(shared).filter(|(sync, _)| sync.script) {
        let what = match &end {
            End::Asked => What::Ended { unsent: 0 },
            End::Refused(r) => What::Stopped { text: r.text.clone(), remedy: r.remedy.clone() },
        };
        reporter(Report { sync: sync.name.clone(), what });
        shared.note_stopped(if let End::Refused(refusal) = &end { Some(refusal) } else { None });
        shared.end_all();
    }
    end
}

/// Passes events on.
fn follow(at: usize, mut watcher: Watcher, sender: &Sender<Message>, over: &AtomicBool) {
    let mut events = Vec::new();
    while !over.load(Ordering::Acquire) {
        watcher.poll(WATCH_POLL_MS, &mut events);
        let lost = events.iter().any(|event| matches!(event, Event::Lost(_)));
        let batch = std::mem::take(&mut events);
        if !batch.is_empty() && sender.send(Message::Events(at, batch)).is_err() || lost {
            return;
        }
    }
}

fn broken(error: &mlua::Error) -> Refusal {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default().to_owned();
    Refusal { text: line, remedy: "correct the configuration's program".into() }
}

struct Machine {
    /// Held for the functions.
    _lua: Lua,
    act: Function,
    ended: Function,
    ring: Function,
    state: SharedState,
    source_looked_at: Instant,
    /// No sync has actions of its own: the program is kept for its alarms.
    is_alone: bool,
}

impl Machine {
    fn start(
        path: &Path,
        config: &Config,
        shared: &[Arc<Shared>],
        reporter: &Reporter,
        sender: Sender<Message>,
        watch: &mut dyn FnMut(usize, Watcher),
    ) -> Result<Machine, Refusal> {
        let hosted = host(path).map_err(|errors| Refusal {
            text: errors.first().map(ToString::to_string).unwrap_or_default(),
            remedy: "correct the configuration".into(),
        })?;
        let state = Rc::new(RefCell::new(State {
            syncs: HashMap::new(),
            processes: HashMap::new(),
            processes_max: config.processes_max.unwrap_or(usize::MAX),
            last_process: 0,
            sender,
            ends: None,
            clock: Instant::now(),
            reporter: Arc::clone(reporter),
            modified: config.modified,
            trace: config.trace,
        }));
        for (at, (sync, shared)) in config.syncs.iter().zip(shared).enumerate() {
            if !sync.script {
                continue;
            }
            let (mut made, watcher) = open(sync, shared, reporter)?;
            let settled = settle(&hosted, at, sync).map_err(|error| broken(&error))?;
            made.moves = settled;
            made.delays.add(EventKind::Init, b"", true, 0);
            state.borrow_mut().syncs.insert(at, made);
            watch(at, watcher);
        }
        let Hosted { lua, core, runtime, .. } = hosted;
        let install = || -> mlua::Result<Machine> {
            install(&lua, &core, &state)?;
            Ok(Machine {
                act: runtime.get("act")?,
                ended: runtime.get("ended")?,
                ring: runtime.get("ring")?,
                state: Rc::clone(&state),
                source_looked_at: Instant::now(),
                is_alone: state.borrow().syncs.is_empty(),
                _lua: lua.clone(),
            })
        };
        install().map_err(|error| broken(&error))
    }

    fn work(mut self, shared: &[Arc<Shared>], messages: &Receiver<Message>) -> End {
        loop {
            let all = self.is_alone && shared.iter().all(|shared| shared.stop_requested());
            let own = |sync: &ScriptSync| sync.shared.stop_requested();
            let stop = all || self.state.borrow().syncs.values().any(own);
            let idle = self.state.borrow().processes.is_empty();
            if stop && idle {
                return End::Asked;
            }
            let round = if stop { Ok(ROUND_MAX) } else { self.round() };
            let wait = match round {
                Ok(wait) => wait,
                Err(end) => return end,
            };
            if !self.is_alone && self.state.borrow().passed() {
                return End::Asked;
            }
            let first = messages.recv_timeout(wait).ok();
            for message in first.into_iter().chain(messages.try_iter()) {
                if let Err(end) = self.take_in(message) {
                    return end;
                }
            }
        }
    }

    /// Lets the program act on what is due; how long nothing will be.
    fn round(&mut self) -> Result<Duration, End> {
        let mut wait = ROUND_MAX;
        let now = jiff::Timestamp::now().as_second();
        let next: Option<f64> = self.ring.call(now).map_err(|error| self.end(&error))?;
        if next.is_some_and(|next| next <= now as f64) {
            wait = Duration::ZERO;
        }
        self.by_the_clock();
        let mut all: Vec<usize> = self.state.borrow().syncs.keys().copied().collect();
        all.sort_unstable();
        for at in all {
            while let Some(due) = self.due(at) {
                let id = match due {
                    Ok(id) => id,
                    Err(ms) => {
                        wait = wait.min(Duration::from_millis(ms));
                        break;
                    }
                };
                let stuck: bool = self.act.call((at, id)).map_err(|error| self.end(&error))?;
                if stuck {
                    break;
                }
            }
            self.note_state(at);
        }
        if self.source_looked_at.elapsed() > SOURCE_LOOK {
            self.source_looked_at = Instant::now();
            for sync in self.state.borrow().syncs.values() {
                sync.source.root().map_err(End::Refused)?;
            }
        }
        Ok(wait)
    }

    /// Has everything compared where it is time.
    fn by_the_clock(&self) {
        for sync in self.state.borrow_mut().syncs.values_mut() {
            if sync.full_at.as_ref().is_some_and(|at| *at <= jiff::Zoned::now()) {
                sync.full_at = next_of(&sync.crontab);
                if !sync.delays.waits(EventKind::Full) {
                    sync.delays.add(EventKind::Full, b"", true, 0);
                }
            }
        }
    }

    /// The event of a sync to act on now, or in how many milliseconds there will be one.
    fn due(&self, at: usize) -> Option<Result<u64, u64>> {
        let state = self.state.borrow();
        let now = state.now();
        let sync = state.syncs.get(&at)?;
        let free = sync.running < sync.processes_max && state.processes.len() < state.processes_max;
        let next = sync.delays.next(now, sync.delays_max).filter(|_| free)?;
        Some(next.map_err(|due| due.saturating_sub(now)))
    }

    fn note_state(&self, at: usize) {
        let state = self.state.borrow();
        let Some(sync) = state.syncs.get(&at) else { return };
        let mut shared = sync.shared.lock();
        shared.waiting = sync.delays.len();
        shared.numbers.state = match (sync.running, sync.delays.is_empty()) {
            (0, true) => SyncState::Idle,
            (0, false) => SyncState::Waiting,
            _ => SyncState::Sending,
        };
    }

    fn take_in(&mut self, message: Message) -> Result<(), End> {
        match message {
            Message::Ended(number, code) => {
                let mut state = self.state.borrow_mut();
                let Some(at) = state.processes.remove(&number) else { return Ok(()) };
                state.trace(state.trace.delay, at, "Delay", || format!("process ended: {code}"));
                if let Some(sync) = state.syncs.get_mut(&at) {
                    sync.running = sync.running.saturating_sub(1);
                    let mut shared = sync.shared.lock();
                    shared.numbers.batches += u64::from(code == 0);
                }
                drop(state);
                self.ended.call::<()>((at, number, code)).map_err(|error| self.end(&error))
            }
            Message::Events(at, events) => {
                for event in events {
                    self.event(at, event)?;
                }
                Ok(())
            }
        }
    }

    fn event(&self, at: usize, event: Event) -> Result<(), End> {
        let mut state = self.state.borrow_mut();
        if let Some(sync) = state.syncs.get(&at) {
            sync.shared.lock().numbers.events += 1;
        }
        state.trace(state.trace.inotify, at, "Inotify", || event.line());
        match event {
            Event::Path(path, change) => state.path_event(at, &path, change),
            Event::Moved => {
                if let Some(sync) = state.syncs.get_mut(&at) {
                    sync.moving = true;
                }
            }
            Event::Doubt => {
                let Some(sync) = state.syncs.get_mut(&at) else { return Ok(()) };
                sync.delays.forget();
                sync.delays.add(EventKind::Init, b"", true, 0);
                sync.shared.lock().numbers.overflows += 1;
                let name = sync.name.clone();
                state.say(&name, What::Overflow);
            }
            Event::Lost(text) => {
                let remedy = "nothing was deleted; start anew".into();
                return Err(End::Refused(Refusal { text, remedy }));
            }
        }
        Ok(())
    }

    /// What an error in the program, or its own wish, makes the end.
    fn end(&self, error: &mlua::Error) -> End {
        match self.state.borrow().ends {
            Some(0) => End::Asked,
            Some(code) => End::Refused(Refusal {
                text: format!("the configuration's program ends all with {code}"),
                remedy: "see the lines before".into(),
            }),
            None => End::Refused(broken(error)),
        }
    }
}

fn open(
    sync: &SyncConfig,
    shared: &Arc<Shared>,
    reporter: &Reporter,
) -> Result<(ScriptSync, Watcher), Refusal> {
    let wrong = |text: String| Refusal { text, remedy: "correct the rule".into() };
    let exclude = Arc::new(Exclude::new(&sync.options.filters, b"").map_err(wrong)?);
    let source = Arc::new(GuardedSource::open(&sync.source)?);
    let opened = watch::open(&source, &exclude, BackendChoice::Inotify)?;
    shared.lock().numbers.backend = opened.backend.into();
    let shown = |text: &[u8]| String::from_utf8_lossy(text).into_owned();
    let what = What::Watching {
        backend: opened.backend.into(),
        reason: opened.reason,
        source: shown(&sync.source),
        target: shown(&sync.target),
    };
    reporter(Report { sync: sync.name.clone(), what });
    let rule = |rule: &FilterArg| match rule {
        FilterArg::Exclude(pattern) => [b"- ", pattern.as_slice()].concat(),
        FilterArg::Include(pattern) => [b"+ ", pattern.as_slice()].concat(),
        FilterArg::Rule(text) | FilterArg::ExcludeFrom(text) | FilterArg::IncludeFrom(text) => {
            text.clone()
        }
    };
    let mut watcher = opened.watcher;
    watcher.tell_moves();
    let made = ScriptSync {
        name: sync.name.clone(),
        shared: Arc::clone(shared),
        source,
        delays: Delays::default(),
        delay_ms: sync.delay_ms,
        delays_max: sync.max_delays,
        processes_max: sync.processes,
        running: 0,
        moves: false,
        once: sync.once.is_some(),
        extra: Exclude::new(&[], b"").map_err(wrong)?,
        rules: sync.options.filters.iter().map(rule).collect(),
        crontab: sync.crontab.clone(),
        full_at: next_of(&sync.crontab),
        moving: false,
    };
    Ok((made, watcher))
}

/// Tells the program what became of a sync's table; whether it wants to know of moves.
fn settle(hosted: &Hosted, at: usize, sync: &SyncConfig) -> mlua::Result<bool> {
    let lua = &hosted.lua;
    let mut source = resolved(&sync.source).as_os_str().as_encoded_bytes().to_vec();
    if !source.ends_with(b"/") {
        source.push(b'/');
    }
    let strings = |list: &[Vec<u8>]| -> mlua::Result<Table> {
        let made = list.iter().map(|word| lua.create_string(word)).collect::<Result<Vec<_>, _>>();
        lua.create_sequence_from(made?)
    };
    let words = hosted.words.get(at).cloned().unwrap_or_default();
    let prefix = match words.split_first() {
        Some((binary, _)) if !binary.is_empty() => vec![binary.clone()],
        _ => {
            let own = std::env::current_exe().map_err(mlua::Error::external)?;
            vec![own.as_os_str().as_encoded_bytes().to_vec(), b"rsync".to_vec()]
        }
    };
    let rest = words.get(1..).unwrap_or_default();
    let patterns = sync.options.filters.iter().filter_map(|rule| match rule {
        FilterArg::Exclude(pattern) => Some(pattern.clone()),
        _ => None,
    });
    let patterns: Vec<Vec<u8>> = patterns.collect();
    let call: Function = hosted.runtime.get("settle")?;
    let target = lua.create_string(&sync.target)?;
    let source = lua.create_string(&source)?;
    let (words, prefix, patterns) = (strings(rest)?, strings(&prefix)?, strings(&patterns)?);
    call.call((at + 1, at, source, target, words, prefix, patterns))
}

/// Milliseconds between two looks at whether the watch is to end.
const WATCH_POLL_MS: u32 = 100;
/// The longest wait of the loop.
const ROUND_MAX: Duration = Duration::from_millis(100);
/// How often the sources must be what they were.
const SOURCE_LOOK: Duration = Duration::from_secs(1);
