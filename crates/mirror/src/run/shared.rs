//! What the threads of one sync share: the queue, the numbers, the request to end.
//!
//! The watch thread adds events, the transfer thread takes batches, the runner's thread reads the
//! numbers and passes the request to end on. One lock holds queue and numbers; it is never held
//! over a look at the file system or a transfer.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Zoned;
use rsync::control::Control;

use super::guard::Refusal;
use crate::aggregate::combine::Millis;
use crate::aggregate::queue::{Caps, Due, Queue};
use crate::config::SyncConfig;
use crate::config::crontab::Crontab;
use crate::status::{LastError, SyncState, SyncStatus};
use crate::watch::event::Event;

/// Shared by the threads of one sync.
#[derive(Debug)]
pub struct Shared {
    state: Mutex<State>,
    wake: Condvar,
    stop: AtomicBool,
    clock: Instant,
    after_killed: bool,
    delay_ms: Millis,
    max_delays: usize,
    compare_every_ms: Millis,
    /// Timed comparisons leave something out.
    timed_part: bool,
    crontab: Vec<Crontab>,
    /// This sync has ended in a way that ends all others.
    ends_all: AtomicBool,
}

/// What the lock holds.
#[derive(Debug)]
pub struct State {
    /// Dirty paths.
    pub queue: Queue,
    /// Why the watch has ended, if it has.
    pub lost: Option<String>,
    /// The numbers, those of the queue left out.
    pub numbers: SyncStatus,
    /// When everything is compared though nothing asks for it.
    pub compare_at: Option<Millis>,
    /// The same by the clock of the day.
    pub clock_at: Option<Zoned>,
    /// The time for a comparison has come that leaves something out.
    pub timed: bool,
    /// What waits elsewhere than in the queue.
    pub waiting: usize,
    /// No transfer before this time.
    pub blocked_until: Millis,
    /// That of the transfer under way.
    pub control: Arc<Control>,
}

/// What the transfer thread should do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// End: it was asked for.
    Stop,
    /// End: the source is not what it was.
    Lost(String),
    /// Compare everything.
    Full,
    /// Compare what timed comparisons are to compare.
    Timed,
    /// Send what is ready.
    Paths,
    /// Look at new files while nothing can be sent: later they may be gone.
    Look,
    /// Nothing to send; see whether the source is still there.
    Check,
}

impl Shared {
    /// For one sync, before any of its threads.
    pub fn new(config: &SyncConfig) -> Shared {
        let numbers = SyncStatus {
            name: config.name.clone(),
            source: String::from_utf8_lossy(&config.source).into_owned(),
            target: String::from_utf8_lossy(&config.target).into_owned(),
            ..SyncStatus::default()
        };
        Shared {
            state: Mutex::new(State {
                queue: Queue::new(config.quiet_ms, Caps::default()),
                lost: None,
                numbers,
                compare_at: (config.compare_every_ms > 0).then_some(config.compare_every_ms),
                clock_at: next_of(&config.crontab),
                timed: false,
                waiting: 0,
                blocked_until: 0,
                control: Arc::default(),
            }),
            wake: Condvar::new(),
            stop: AtomicBool::new(false),
            clock: Instant::now(),
            after_killed: false,
            delay_ms: config.delay_ms,
            max_delays: config.max_delays,
            compare_every_ms: config.compare_every_ms,
            timed_part: !config.timed_filters.is_empty(),
            crontab: config.crontab.clone(),
            ends_all: AtomicBool::new(false),
        }
    }

    /// The same after a mirror of the same name was killed, if `yes`: its last transfer may still be
    /// ending at the target.
    pub fn after_killed(self, yes: bool) -> Shared {
        Shared { after_killed: yes, ..self }
    }

    /// Whether it is after one.
    pub fn is_after_killed(&self) -> bool {
        self.after_killed
    }

    /// Milliseconds since this sync was made.
    pub fn now(&self) -> Millis {
        Millis::try_from(self.clock.elapsed().as_millis()).unwrap_or(Millis::MAX)
    }

    /// Queue and numbers, locked.
    pub fn lock(&self) -> MutexGuard<'_, State> {
        // A thread that died while it held the lock left complete entries: each change is one call.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks all threads to end, a transfer after the file in hand.
    pub fn request_stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.lock().control.request_stop();
        self.wake.notify_all();
    }

    /// Whether the end was asked for.
    pub fn stop_requested(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Makes the end of this sync that of all.
    pub fn end_all(&self) {
        self.ends_all.store(true, Ordering::Release);
    }

    /// Whether all others end with this sync.
    pub fn ends_all(&self) -> bool {
        self.ends_all.load(Ordering::Acquire)
    }

    /// Takes in events.
    pub fn take_in(&self, events: &mut Vec<Event>) {
        let now = self.now();
        let mut state = self.lock();
        for event in events.drain(..) {
            state.numbers.events += 1;
            match event {
                Event::Path(path, change) => state.queue.add(&path, change, now),
                Event::Moved => {}
                Event::Doubt => {
                    state.numbers.overflows += 1;
                    state.queue.doubt(now);
                }
                Event::Lost(text) => {
                    state.lost.get_or_insert(text);
                }
            }
        }
        drop(state);
        self.wake.notify_all();
    }

    /// Makes the control of a new transfer known, so that a request to end reaches it.
    pub fn new_control(&self, kind: SyncState) -> Arc<Control> {
        let control = Arc::new(Control::default());
        let mut state = self.lock();
        state.numbers.state = kind;
        state.control = Arc::clone(&control);
        drop(state);
        if self.stop_requested() {
            control.request_stop();
        }
        control
    }

    /// Until when the changes that wait are collected, if that is not over.
    fn collecting(&self, queue: &Queue, now: Millis) -> Option<Millis> {
        if self.delay_ms == 0 || queue.len() >= self.max_delays {
            return None;
        }
        let until = queue.oldest()?.saturating_add(self.delay_ms);
        (until > now).then_some(until)
    }

    /// Asks for the comparisons whose time has come.
    fn ring(&self, state: &mut State, now: Millis) {
        let mut rings = false;
        if state.compare_at.is_some_and(|at| at <= now) {
            state.compare_at = Some(now.saturating_add(self.compare_every_ms));
            rings = true;
        }
        if state.clock_at.as_ref().is_some_and(|at| *at <= Zoned::now()) {
            state.clock_at = next_of(&self.crontab);
            rings = true;
        }
        match rings {
            true if self.timed_part => state.timed = true,
            true => state.queue.doubt(now),
            false => {}
        }
    }

    /// Waits until there is something to do.
    pub fn next(&self) -> Next {
        let mut state = self.lock();
        let check_at = self.now().saturating_add(CHECK_MS);
        loop {
            if self.stop_requested() {
                return Next::Stop;
            }
            if let Some(text) = state.lost.take() {
                return Next::Lost(text);
            }
            let now = self.now();
            self.ring(&mut state, now);
            let due = state.queue.due(now);
            let blocked = state.blocked_until > now;
            if state.timed && !blocked && due != Due::Full {
                state.timed = false;
                return Next::Timed;
            }
            let held = match due {
                Due::Full => None,
                _ => self.collecting(&state.queue, now),
            };
            state.numbers.state = match (blocked, due) {
                (false, Due::Full | Due::Paths) if held.is_none() => state.numbers.state,
                _ if state.queue.is_empty() => SyncState::Idle,
                _ => SyncState::Waiting,
            };
            let until = match due {
                _ if (blocked || held.is_some()) && state.queue.looks_wanted() => {
                    return Next::Look;
                }
                Due::Full | Due::Paths if blocked => state.blocked_until.max(held.unwrap_or(0)),
                Due::Paths if held.is_some() => held.unwrap_or(now),
                Due::Full => {
                    // It covers what a timed one would.
                    state.timed = false;
                    return Next::Full;
                }
                Due::Paths => return Next::Paths,
                _ if !blocked && state.queue.looks_wanted() => return Next::Paths,
                Due::At(at) => at,
                Due::Nothing => check_at,
            };
            if now >= check_at {
                return Next::Check;
            }
            let wait = Duration::from_millis(until.min(check_at).saturating_sub(now).max(1));
            let waited = self.wake.wait_timeout(state, wait);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Notes a failure for the status.
    pub fn note_error(&self, text: &str, remedy: &str) {
        let at = jiff::Timestamp::now().to_string();
        let error = LastError { at, text: text.to_owned(), remedy: remedy.to_owned() };
        self.lock().numbers.last_error = Some(error);
    }

    /// Ends the sync's numbers with the reason why it stopped.
    pub fn note_stopped(&self, refusal: Option<&Refusal>) {
        if let Some(refusal) = refusal {
            self.note_error(&refusal.text, &refusal.remedy);
        }
        self.lock().numbers.state = SyncState::Stopped;
    }

    /// The numbers as they are, with those of the queue.
    pub fn status(&self) -> SyncStatus {
        let now = self.now();
        let state = self.lock();
        let mut numbers = state.numbers.clone();
        numbers.queue = u64::try_from(state.queue.len() + state.waiting).unwrap_or(u64::MAX);
        numbers.oldest_ms = state.queue.oldest().map(|since| now.saturating_sub(since));
        // The transfer thread notices an empty queue a moment later than the queue is empty, and a
        // new change a moment later than it is queued.
        match (numbers.state, numbers.queue) {
            (SyncState::Idle, 1..) => numbers.state = SyncState::Sending,
            (SyncState::Sending | SyncState::Waiting, 0) => numbers.state = SyncState::Idle,
            _ => {}
        }
        numbers
    }
}

/// The next time that one of these lines names.
pub(crate) fn next_of(crontab: &[Crontab]) -> Option<Zoned> {
    let now = Zoned::now();
    crontab.iter().filter_map(|line| line.next(&now)).min()
}

/// Milliseconds between two looks at whether the source is still there, while nothing is sent.
const CHECK_MS: Millis = 1000;
