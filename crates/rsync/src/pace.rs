//! The bandwidth limit: an average enforced by sleeping once the writer is ahead of it.

use std::time::{Duration, Instant};

/// Keeps a writer at an average rate.
#[derive(Debug)]
pub struct Pace {
    bytes_per_s: u64,
    since: Instant,
    written: u64,
}

/// Being ahead by less than this is left to even out.
const SLACK: Duration = Duration::from_millis(100);
/// The average is taken over at most this long, so that a pause earns no burst.
const WINDOW: Duration = Duration::from_secs(1);

impl Pace {
    /// A limit in bytes per second, which must not be 0.
    pub fn new(bytes_per_s: u64) -> Pace {
        Pace { bytes_per_s: bytes_per_s.max(1), since: Instant::now(), written: 0 }
    }

    /// Most bytes one write may hold: an eighth of a second's worth, at least 512.
    pub fn write_max(&self) -> usize {
        usize::try_from((self.bytes_per_s / 8).max(512)).unwrap_or(usize::MAX)
    }

    /// Notes bytes written and sleeps as long as they were too many.
    pub fn wrote(&mut self, bytes: usize) {
        self.written = self.written.saturating_add(bytes as u64);
        let due = Duration::from_secs_f64(self.written as f64 / self.bytes_per_s as f64);
        let elapsed = self.since.elapsed();
        if due > elapsed + SLACK {
            std::thread::sleep(due - elapsed);
        } else if elapsed > due + WINDOW {
            self.since = Instant::now();
            self.written = 0;
        }
    }
}
