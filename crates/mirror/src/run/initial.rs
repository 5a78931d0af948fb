//! The comparison of everything: the first pass, and what follows lost events.
//!
//! Called by `run::sync` when everything is in doubt. It is one ordinary recursive transfer, with
//! deletions where they are on; the watch is open before it, so what changes meanwhile is queued.
//! Before it, an empty source is weighed against the target. Here is also what is shown while it
//! runs.

use rsync::control::Control;
use rsync::problem::Outcome;
use serde::Serialize;
use std::sync::atomic::Ordering;

use super::guard::{Refusal, Source};
use super::job::Transfer;
use crate::report::{bytes, seconds};

/// How far a comparison of everything is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Progress {
    /// Entries done with.
    pub done: u64,
    /// Entries found so far.
    pub listed: u64,
    /// All entries are found.
    pub list_complete: bool,
    /// Bytes sent.
    pub bytes: u64,
    /// Bytes sent in a second, lately.
    pub rate: u64,
    /// Milliseconds left at the pace so far, once all entries are found; judged by entries or
    /// bytes, whichever are further.
    pub left_ms: Option<u64>,
}

impl Progress {
    /// One line of text.
    pub fn line(&self) -> String {
        let more = if self.list_complete { "" } else { "+" };
        let left = self.left_ms.map_or_else(String::new, |ms| format!(", {} left", seconds(ms)));
        format!(
            "{} of {}{more} entries, {}, {}/s{left}",
            self.done,
            self.listed,
            bytes(self.bytes),
            bytes(self.rate)
        )
    }
}

/// Turns a transfer's counters into progress. Times are in milliseconds of any one clock.
#[derive(Clone, Copy, Debug)]
pub struct Meter {
    started: u64,
    last: u64,
    last_bytes: u64,
    rate: f64,
}

impl Meter {
    /// Starts measuring.
    pub fn new(now: u64) -> Meter {
        Meter { started: now, last: now, last_bytes: 0, rate: 0.0 }
    }

    /// Takes a reading.
    pub fn read(&mut self, now: u64, control: &Control) -> Progress {
        let load = |n: &std::sync::atomic::AtomicU64| n.load(Ordering::Relaxed);
        let (done, listed, sent) =
            (load(&control.done), load(&control.listed), load(&control.bytes));
        let list_complete = control.list_complete.load(Ordering::Relaxed);
        let span = now.saturating_sub(self.last).max(1);
        let latest = sent.saturating_sub(self.last_bytes) as f64 * 1000.0 / span as f64;
        // The first reading counts as it is; later ones are smoothed over some five readings.
        self.rate =
            if self.last == self.started { latest } else { self.rate + (latest - self.rate) / 5.0 };
        (self.last, self.last_bytes) = (now, sent);
        let elapsed = now.saturating_sub(self.started);
        let share = |part: u64, whole: u64| part as f64 / whole.max(1) as f64;
        let share = share(done, listed).max(share(sent, load(&control.bytes_listed))).min(1.0);
        let left_ms =
            (list_complete && share > 0.0).then(|| (elapsed as f64 * (1.0 - share) / share) as u64);
        Progress { done, listed, list_complete, bytes: sent, rate: self.rate as u64, left_ms }
    }
}

/// Why a comparison of everything cannot start now.
#[derive(Debug)]
pub enum Hold {
    /// The source is not fit; the sync ends.
    Refused(Refusal),
    /// The target did not answer what had to be asked first.
    Failed(Outcome),
}

/// Weighs an empty source against the target: with deletions on, everything there would go.
pub fn weigh_empty(
    source: &Source,
    transfer: &dyn Transfer,
    allow_empty: bool,
    delete: bool,
    control: &std::sync::Arc<Control>,
) -> Result<(), Hold> {
    let root = source.root().map_err(Hold::Refused)?;
    if !delete || allow_empty {
        return Ok(());
    }
    let empty = source.is_empty(&root).map_err(|e| Hold::Refused(source.missing(&e)))?;
    drop(root);
    if !empty {
        return Ok(());
    }
    match transfer.target_is_empty(control) {
        Ok(true) => Ok(()),
        Ok(false) => Err(Hold::Refused(source.emptied())),
        Err(outcome) => Err(Hold::Failed(outcome)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_tells_rate_and_time_left() {
        // A failure would show nonsense on the first pass, or divide by nothing.
        let control = Control::default();
        let mut meter = Meter::new(0);
        assert_eq!(meter.read(0, &control).left_ms, None);
        let mut meter = Meter::new(0);
        control.listed.store(100, Ordering::Relaxed);
        control.done.store(25, Ordering::Relaxed);
        control.bytes.store(5_000_000, Ordering::Relaxed);
        let before = meter.read(1000, &control);
        assert_eq!((before.rate, before.left_ms), (5_000_000, None));
        control.list_complete.store(true, Ordering::Relaxed);
        control.bytes_listed.store(100_000_000, Ordering::Relaxed);
        let after = meter.read(2000, &control);
        assert_eq!(after.left_ms, Some(6000));
        assert_eq!(after.line(), "25 of 100 entries, 5.0 MB, 4.0 MB/s, 6.0 s left");
        control.bytes_listed.store(10_000_000, Ordering::Relaxed);
        assert_eq!(meter.read(3000, &control).left_ms, Some(3000));
    }
}
