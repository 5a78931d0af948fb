//! What a caller can ask of a running transfer, and what it can watch.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use wire::exit::ExitCode;

use crate::fatal::Fatal;

/// How often the clock is looked at while a run has a limit of time.
const LIMIT_CHECK: Duration = Duration::from_millis(500);

/// Shared between the roles of one run and whoever started it.
#[derive(Default, Debug)]
pub struct Control {
    stop: OnceLock<ExitCode>,
    /// Seconds in which something other than keep-alives must move, in either direction, or the run
    /// ends with exit code 30; 0 is no limit. The time in which a slow peer would read or write all
    /// files listed comes on top. The timeout of the options is no such limit: a peer that waits for
    /// ever keeps the connection alive.
    pub stall_s: AtomicU32,
    /// Whether this side, as sender, lists a file only once a later change of it shows in its time.
    pub settle: AtomicBool,
    /// Whether a stop waits for the end of the file in hand.
    pub after_file: AtomicBool,
    /// Entries listed so far by the sender.
    pub listed: AtomicU64,
    /// Set once the file list is complete.
    pub list_complete: AtomicBool,
    /// Entries the sender is done with (sent, equal or failed), as far as it can know.
    pub done: AtomicU64,
    /// Bytes of content in files sent so far.
    pub bytes: AtomicU64,
    /// Sum of the sizes of all files listed so far.
    pub bytes_listed: AtomicU64,
    /// Raw bytes read from the other side.
    pub read: AtomicU64,
    /// Raw bytes written to the other side.
    pub written: AtomicU64,
}

impl Control {
    /// Asks the run to end. It ends with exit code 20.
    pub fn request_stop(&self) {
        self.end_with(ExitCode::Signal);
    }

    /// The same with another exit code; the first one counts.
    pub fn end_with(&self, exit: ExitCode) {
        let _ = self.stop.set(exit);
    }

    /// Has the run end with exit code 30 at a time in seconds since 1970, after calling `told`.
    pub fn end_at(self: Arc<Self>, time: i64, told: impl FnOnce() + Send + 'static) {
        let _ = std::thread::Builder::new().name("limit".into()).spawn(move || {
            loop {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                let left = u64::try_from(time).unwrap_or(0).saturating_sub(now.as_secs());
                if left == 0 {
                    break;
                }
                // The clock may be set, so that the wait is done in short ones.
                std::thread::sleep(LIMIT_CHECK.min(Duration::from_secs(left)));
            }
            told();
            self.end_with(ExitCode::Timeout);
        });
    }

    /// Whether a stop was asked for.
    pub fn stop_requested(&self) -> bool {
        self.stop.get().is_some()
    }

    /// What ends the run in the middle of a file, where that is how it stops.
    pub fn cut_off(&self) -> Result<(), Fatal> {
        if self.after_file.load(Ordering::Relaxed) { Ok(()) } else { self.stopped() }
    }

    /// What ends the run, where a stop was asked for.
    pub fn stopped(&self) -> Result<(), Fatal> {
        self.stop.get().map_or(Ok(()), |exit| Err(Fatal::silent(*exit)))
    }
}
