//! One sync: from its source and target to transfers, for as long as it lives.
//!
//! Called by `run::runner` on a thread of its own. Steps:
//! 1. the source is opened and remembered, the watch is opened, its thread is started;
//! 2. everything is in doubt, so everything is compared;
//! 3. then: wait for a change, gather for a moment, look at new files, take what is ready, send it,
//!    and put back what failed. What arrives meanwhile is the next batch;
//! 4. a failure of a whole transfer blocks the next one for a growing time; paths that failed alone
//!    wait by themselves. After a transfer that was cut off, the target is compared as a whole once
//!    all is sent: it may have kept unfinished files, or have gone on for a moment by itself, beside
//!    the next transfer;
//! 5. before every transfer and once a second the source must be the same directory as at the start,
//!    else the sync ends with a message and nothing is deleted.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rsync::control::Control;
use rsync::problem::Outcome;
use tree::root::Root;
use wire::exit::ExitCode;

use super::guard::{GuardedSource, Refusal, refuse_overlap};
use super::initial::{Hold, weigh_empty};
use super::job::{Job, Transfer, add, nothing_done};
use super::plugin::Telling;
use super::retry::{Verdict, backoff, deletions_left_out, litter_possible, remedy, verdict};
use super::shared::{Next, Shared};
use super::survey::Survey;
use crate::aggregate::combine::{Dirty, Kind};
use crate::config::{ExitRule, Once, SyncConfig, Trace};
use crate::plan::batch::{BATCH_MAX, Batch, plan};
use crate::plan::exclude::Exclude;
use crate::report::{Report, What, Work};
use crate::status::SyncState;
use crate::watch;
use crate::watch::event::Event;

/// Where reports go.
pub type Reporter = Arc<dyn Fn(Report) + Send + Sync>;

/// One sync on its thread.
pub struct Mirror {
    config: SyncConfig,
    prefix: Vec<u8>,
    shared: Arc<Shared>,
    source: Arc<GuardedSource>,
    survey: Survey,
    transfer: Box<dyn Transfer>,
    reporter: Reporter,
    /// Whole transfers that failed in a row.
    attempts: u8,
    /// No comparison of everything has succeeded yet.
    first: bool,
    /// The target may have what the source has not, though nothing is owed by name: a transfer
    /// left out deletions, or was cut off.
    unsure: bool,
    /// Times events were lost, of those reported.
    overflows: u64,
}

/// How a sync ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It was asked to.
    Asked,
    /// Its source, target or system is not fit.
    Refused(Refusal),
}

/// Runs a sync until it is asked to end or must, with the transfers of `rsync::client`.
pub fn run(config: SyncConfig, shared: &Arc<Shared>, reporter: &Reporter, trace: Trace) -> End {
    match transfers(&config) {
        Ok(transfer) => run_with(config, transfer, shared, reporter, trace),
        Err(refusal) => finish(&config, shared, reporter, End::Refused(refusal)),
    }
}

/// The transfers of a sync, with its plugin behind them.
fn transfers(config: &SyncConfig) -> Result<Box<dyn Transfer>, Refusal> {
    let job = || {
        let job = Job::new(config)?;
        if let Some(target) = job.local_target() {
            refuse_overlap(&config.source, target)?;
        }
        Ok(Box::new(job) as Box<dyn Transfer>)
    };
    match &config.plugin {
        None => job(),
        Some(plugin) => {
            let inner = if plugin.alone { None } else { Some(job()?) };
            Ok(Box::new(Telling::new(config, plugin, inner)?))
        }
    }
}

/// As [`run`], with any transfers.
pub fn run_with(
    config: SyncConfig,
    transfer: Box<dyn Transfer>,
    shared: &Arc<Shared>,
    reporter: &Reporter,
    trace: Trace,
) -> End {
    let end = match Mirror::open(config.clone(), transfer, shared, reporter) {
        Ok((mut sync, watcher)) => std::thread::scope(|scope| {
            let watching = scope.spawn(|| {
                let tell = |what| reporter(Report { sync: config.name.clone(), what });
                let tell: Option<&dyn Fn(What)> = if trace.inotify { Some(&tell) } else { None };
                watch_loop(watcher, shared, tell);
            });
            let end = sync.work();
            shared.request_stop();
            // A watch thread that died has ended the watch; the sync is ending anyway.
            let _ = watching.join();
            end
        }),
        Err(refusal) => End::Refused(refusal),
    };
    finish(&config, shared, reporter, end)
}

/// Reports how a sync ended.
fn finish(config: &SyncConfig, shared: &Shared, reporter: &Reporter, end: End) -> End {
    let what = match &end {
        End::Asked => What::Ended { unsent: shared.lock().queue.len() },
        End::Refused(r) => What::Stopped { text: r.text.clone(), remedy: r.remedy.clone() },
    };
    shared.note_stopped(match &end {
        End::Asked => None,
        End::Refused(refusal) => Some(refusal),
    });
    reporter(Report { sync: config.name.clone(), what });
    end
}

fn watch_loop(mut watcher: watch::Watcher, shared: &Shared, tell: Option<&dyn Fn(What)>) {
    let mut events = Vec::new();
    while !shared.stop_requested() {
        watcher.poll(WATCH_POLL_MS, &mut events);
        if !events.is_empty() {
            let lost = events.iter().any(|e| matches!(e, Event::Lost(_)));
            if let Some(tell) = tell {
                for event in &events {
                    tell(What::Script { category: "Inotify".into(), text: event.line() });
                }
            }
            shared.take_in(&mut events);
            if lost {
                return;
            }
        }
        // The number comes first: what happened before that flight ended is read if nothing waits.
        let flight = shared.lock().queue.to_catch_up();
        if let Some(flight) = flight
            && watcher.is_drained()
        {
            shared.lock().queue.caught_up(flight);
        }
    }
}

impl Mirror {
    fn open(
        config: SyncConfig,
        transfer: Box<dyn Transfer>,
        shared: &Arc<Shared>,
        reporter: &Reporter,
    ) -> Result<(Mirror, watch::Watcher), Refusal> {
        let (_, prefix) = config.base_and_prefix();
        let exclude = Exclude::new(&config.options.filters, &prefix)
            .map_err(|text| Refusal { text, remedy: "correct the rule".into() })?;
        let (source, exclude) = (Arc::new(GuardedSource::open(&config.source)?), Arc::new(exclude));
        let opened = watch::open(&source, &exclude, config.backend)?;
        shared.lock().numbers.backend = opened.backend.into();
        let sync = Mirror {
            prefix,
            shared: Arc::clone(shared),
            survey: Survey::new(&source, &exclude, config.options.hard_links),
            source,
            transfer,
            reporter: Arc::clone(reporter),
            attempts: 0,
            first: true,
            unsure: shared.is_after_killed(),
            overflows: 0,
            config,
        };
        sync.report(What::Watching {
            backend: opened.backend.into(),
            reason: opened.reason,
            source: String::from_utf8_lossy(&sync.config.source).into_owned(),
            target: String::from_utf8_lossy(&sync.config.target).into_owned(),
        });
        if let Some(text) = opened.warning {
            sync.report(What::Warning { text });
        }
        if !sync.config.skip_first {
            let now = shared.now();
            shared.lock().queue.doubt(now);
        }
        Ok((sync, opened.watcher))
    }

    fn work(&mut self) -> End {
        loop {
            let done = match self.shared.next() {
                Next::Stop => return End::Asked,
                Next::Lost(text) => Err(self.lost(text)),
                Next::Check => self.source.root().map(drop),
                Next::Look => self.source.root().map(|root| self.look(&root)),
                Next::Timed => self.full(true),
                Next::Full => {
                    let done = self.full(false);
                    if done.is_ok() && self.config.once.is_some() && !self.first {
                        return End::Asked;
                    }
                    done
                }
                Next::Paths => {
                    // What belongs together arrives within a moment.
                    std::thread::sleep(GATHER);
                    self.batch()
                }
            };
            if let Err(refusal) = done {
                return End::Refused(refusal);
            }
        }
    }

    /// A watch that ended is explained by the state of the source where that tells more.
    fn lost(&self, text: String) -> Refusal {
        match self.source.root() {
            Err(refusal) => refusal,
            Ok(_) => Refusal { text, remedy: "nothing was deleted; start anew".into() },
        }
    }

    /// Compares everything, or what comparisons by time are to compare.
    fn full(&mut self, timed: bool) -> Result<(), Refusal> {
        let overflows = self.shared.lock().numbers.overflows;
        if overflows > std::mem::replace(&mut self.overflows, overflows) {
            self.report(What::Overflow);
        }
        let kind = if self.first { SyncState::FirstPass } else { SyncState::Comparing };
        let control = self.shared.new_control(kind);
        let (config, started) = (&self.config, Instant::now());
        let transfer = self.transfer.as_ref();
        let hold = weigh_empty(
            &self.source,
            transfer,
            config.allow_empty,
            config.deletes_whole(),
            &control,
        );
        match timed {
            true => self.shared.lock().queue.take_part(),
            false => self.shared.lock().queue.take_full(),
        }
        let outcome = match hold {
            Err(Hold::Refused(refusal)) => return Err(refusal),
            Err(Hold::Failed(outcome)) => outcome,
            Ok(()) => {
                self.survey.search_links(&self.source.root()?);
                if timed { transfer.timed(&control) } else { transfer.full(&control) }
            }
        };
        self.heed(&outcome)?;
        // Beside a transfer that was cut off a moment ago, nothing is sure.
        let calm = !timed && self.attempts == 0 && !(self.first && self.shared.is_after_killed());
        let unsure = self.unsure;
        self.unsure = unsure && !calm || self.deletions_left_out(&outcome);
        if self.land(&outcome) {
            if self.first && self.config.once == Some(Once::Done) && outcome.exit != ExitCode::Ok {
                // What failed is tried again as a whole until nothing fails.
                self.again();
                return Ok(());
            }
            self.shared.lock().numbers.passes += 1;
            self.report(What::Pass { first: self.first, work: work(&outcome, started) });
            self.first = false;
        } else {
            self.unsure = unsure;
            self.shared.lock().timed |= timed;
            self.cut_off(&outcome, &control);
        }
        Ok(())
    }

    /// Looks at new files.
    fn look(&mut self, root: &Root) {
        let new = self.shared.lock().queue.to_look();
        let answers = self.survey.being_written(root, new);
        let mut state = self.shared.lock();
        for (path, waits) in answers {
            state.queue.looked(&path, waits);
        }
    }

    /// Sends what is ready.
    fn batch(&mut self) -> Result<(), Refusal> {
        let root = self.source.root()?;
        self.look(&root);
        let mut taken = self.shared.lock().queue.take(BATCH_MAX);
        if taken.is_empty() {
            return Ok(());
        }
        let mut more = self.survey.ground(&root, &mut taken);
        match self.survey.linked(&root, &taken) {
            Some(linked) => more.extend(linked),
            None => {
                let now = self.shared.now();
                self.shared.lock().queue.doubt(now);
            }
        }
        let large = self.large(&root, &taken);
        drop(root);
        let batches = self.batches(taken, &more, &large);
        if batches.is_empty() {
            self.shared.lock().queue.landed();
            return Ok(());
        }
        let control = self.shared.new_control(SyncState::Sending);
        let started = Instant::now();
        let mut outcome = nothing_done();
        let names = batches.iter().map(Batch::len).sum();
        for batch in &batches {
            let one = self.transfer.batch(batch, &control);
            self.unsure |= !batch.subtrees.is_empty() && self.deletions_left_out(&one);
            if !add(&mut outcome, one) {
                break;
            }
        }
        self.heed(&outcome)?;
        if self.land(&outcome) {
            self.shared.lock().numbers.batches += 1;
            self.report(What::Batch { names, work: work(&outcome, started) });
        } else {
            self.cut_off(&outcome, &control);
        }
        Ok(())
    }

    /// Files that are to go by themselves.
    fn large(&self, root: &Root, taken: &[(Vec<u8>, Dirty)]) -> HashSet<Vec<u8>> {
        let Some(limit) = self.config.alone_above else { return HashSet::new() };
        let entries = taken.iter().filter(|(_, what)| what.kind == Kind::Entry);
        let size = |path: &[u8]| {
            let meta = self.source.look(root, path).ok().flatten();
            meta.filter(|meta| meta.is_file()).map_or(0, |meta| meta.size)
        };
        entries.map(|(path, _)| path.clone()).filter(|path| size(path) > limit).collect()
    }

    /// What was taken as batches: one of all, and one for each large file.
    fn batches(
        &self,
        taken: Vec<(Vec<u8>, Dirty)>,
        more: &[Vec<u8>],
        large: &HashSet<Vec<u8>>,
    ) -> Vec<Batch> {
        let (alone, rest): (Vec<_>, Vec<_>) =
            taken.into_iter().partition(|(path, _)| large.contains(path));
        let made = |taken: &[(Vec<u8>, Dirty)], more: &[Vec<u8>]| {
            plan(taken, more, self.config.deletes_changes(), &self.prefix)
        };
        let all = alone.into_iter().map(|one| made(&[one], &[]));
        let batches = std::iter::once(made(&rest, more)).chain(all);
        batches.filter(|batch| !batch.is_empty()).collect()
    }

    /// Compares everything once more, in a while.
    fn again(&mut self) {
        let now = self.shared.now();
        let mut state = self.shared.lock();
        state.blocked_until = now.saturating_add(backoff(self.attempts, random()));
        state.queue.doubt(now);
        self.attempts = self.attempts.saturating_add(1);
    }

    /// Ends the sync for an exit code that is to end it.
    fn heed(&self, outcome: &Outcome) -> Result<(), Refusal> {
        let rule = self.rule(outcome);
        let tried = self.first && self.config.once == Some(Once::Tried);
        let failed = outcome.exit != ExitCode::Ok && rule != Some(ExitRule::Good);
        let text = match rule {
            _ if self.shared.stop_requested() => return Ok(()),
            Some(ExitRule::Die) => "its exit code is one to end with",
            _ if tried && failed => "a single pass is not tried again",
            _ => return Ok(()),
        };
        self.shared.end_all();
        let why = if outcome.reason.is_empty() { outcome.exit.text() } else { &outcome.reason };
        let text = format!("a transfer ended with code {}: {why}; {text}", outcome.status);
        let remedy = remedy(outcome.exit, why).to_owned();
        Err(Refusal { text, remedy })
    }

    fn rule(&self, outcome: &Outcome) -> Option<ExitRule> {
        self.config.exits.get(&outcome.status).copied()
    }

    fn deletions_left_out(&self, outcome: &Outcome) -> bool {
        self.config.delete && deletions_left_out(outcome)
    }

    /// Notes that a transfer failed as a whole.
    fn cut_off(&mut self, outcome: &Outcome, control: &Control) {
        self.unsure |= litter_possible(outcome.exit, control.listed.load(Ordering::Relaxed) > 0);
    }

    /// Ends a transfer in the queue; false when it failed as a whole.
    fn land(&mut self, outcome: &Outcome) -> bool {
        let now = self.shared.now();
        let verdict = match self.rule(outcome) {
            Some(ExitRule::Good) => Verdict::Landed,
            _ => verdict(outcome, &self.prefix),
        };
        if verdict != Verdict::Failed {
            self.count(outcome, verdict == Verdict::Landed);
        }
        match verdict {
            Verdict::Landed => {
                self.attempts = 0;
                let mut state = self.shared.lock();
                state.queue.landed();
                if self.unsure && state.queue.is_empty() {
                    state.queue.doubt(now);
                }
                true
            }
            Verdict::Part(paths) => {
                self.attempts = 0;
                self.part_failed(paths, outcome, now);
                true
            }
            Verdict::Failed => {
                self.failed(outcome, now);
                false
            }
        }
    }

    fn count(&self, outcome: &Outcome, success: bool) {
        let mut state = self.shared.lock();
        state.numbers.files += outcome.files;
        state.numbers.bytes += outcome.bytes;
        state.numbers.deleted += outcome.deleted;
        if success {
            state.numbers.last_success = Some(jiff::Timestamp::now().to_string());
            state.numbers.last_error = None;
        }
    }

    fn part_failed(&self, paths: Vec<Vec<u8>>, outcome: &Outcome, now: u64) {
        let root = self.source.root().ok();
        let count = paths.len();
        let paths: Vec<(Vec<u8>, bool)> = paths
            .into_iter()
            .map(|path| {
                let meta = root.as_ref().and_then(|r| self.source.look(r, &path).ok().flatten());
                (path, meta.is_some_and(|m| m.is_dir()))
            })
            .collect();
        let mut longest = 0;
        self.shared.lock().queue.part_failed(&paths, now, &mut |tries| {
            let wait = backoff(tries, random());
            longest = longest.max(wait);
            wait
        });
        let text = outcome.problems.iter().find(|p| !p.path.is_empty()).map_or("", |p| &p.text);
        // What vanished is no failure: it is settled with the next batch.
        if outcome.exit != ExitCode::Vanished {
            self.trouble(outcome.exit, text, count, longest);
        }
    }

    fn failed(&mut self, outcome: &Outcome, now: u64) {
        let mut state = self.shared.lock();
        state.queue.failed();
        if self.shared.stop_requested() {
            return;
        }
        let wait = backoff(self.attempts, random());
        state.blocked_until = now.saturating_add(wait);
        drop(state);
        self.attempts = self.attempts.saturating_add(1);
        let text = match outcome.problems.first() {
            _ if !outcome.reason.is_empty() => outcome.reason.clone(),
            Some(problem) => problem.text.clone(),
            None => outcome.exit.text().to_owned(),
        };
        self.trouble(outcome.exit, &text, 0, wait);
    }

    fn trouble(&self, exit: ExitCode, text: &str, paths: usize, wait_ms: u64) {
        let remedy = remedy(exit, text);
        self.shared.note_error(text, remedy);
        let (text, remedy) = (text.to_owned(), remedy.to_owned());
        self.report(What::Retry { paths, wait_ms, text, remedy });
    }

    fn report(&self, what: What) {
        (self.reporter)(Report { sync: self.config.name.clone(), what });
    }
}

fn work(outcome: &Outcome, started: Instant) -> Work {
    let ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    Work { files: outcome.files, bytes: outcome.bytes, deleted: outcome.deleted, ms }
}

fn random() -> u32 {
    getrandom::u32().unwrap_or_default()
}

/// How long the first change after quiet waits for what belongs to it.
const GATHER: Duration = Duration::from_millis(1);
/// Milliseconds in which the watch thread notices a request to end.
const WATCH_POLL_MS: u32 = 200;
