//! Progress lines of `--progress` and `--info=progress2`. Pure: the time is an argument.
//!
//! 1. `begin` at the first byte of a file.
//! 2. `update` after each piece: a line at the first call, then at most one per second.
//! 3. `end` when the file is done: always a line.
//!
//! With progress2 the numbers are those of the run, so `set_total` says how much there is. The rate
//! while running is that of the last [`HISTORY`] lines, at the end that of the whole.

use std::time::{Duration, Instant};

use super::number::format_number;

/// Points remembered for the rate while running; one a second.
const HISTORY: usize = 5;
/// Time between two lines, or events.
pub const INTERVAL: Duration = Duration::from_secs(1);
/// Hours beyond which a remaining time says nothing.
const HOURS_MAX: f64 = 9999.0;

/// How much of the list is left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// Entries not yet reached.
    pub remaining: u64,
    /// Entries of all lists so far.
    pub total: u64,
    /// Whether all lists are known.
    pub complete: bool,
}

/// How far a run has come.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sample {
    /// Bytes of content that were transferred.
    pub bytes: u64,
    /// Bytes of all files listed so far, those without a change among them.
    pub listed_bytes: u64,
    /// Files that were transferred.
    pub files: u64,
    /// Entries that are done, of those listed so far, and whether all are listed.
    pub left: Left,
    /// Bytes a second since the start.
    pub rate: f64,
    /// Seconds to the end, as far as what is done tells; `None` until all is listed.
    pub seconds_left: Option<f64>,
}

/// A moment and how many bytes were done then.
type Point = (Instant, u64);

/// The progress of one file, or of the run.
#[derive(Clone, Debug)]
pub struct ProgressLine {
    whole: bool,
    human: u8,
    start: Point,
    /// Points of the last lines, oldest first.
    points: Vec<Point>,
    /// Bytes of the file in hand, or of the run with progress2.
    size: u64,
    /// The size of the file in hand.
    file_size: u64,
    /// With progress2: bytes of the files already done.
    before: u64,
    /// With progress2: length of the last line, for overwriting it.
    width: usize,
}

impl ProgressLine {
    /// For the info level `progress` (1 per file, 2 the run) and numbers at a human level.
    pub fn new(level: u8, human: u8, now: Instant) -> Self {
        let start = (now, 0);
        let points = Vec::new();
        let whole = level > 1;
        ProgressLine { whole, human, start, points, size: 0, file_size: 0, before: 0, width: 0 }
    }

    /// With progress2: the sum of the sizes of all files listed so far.
    pub fn set_total(&mut self, bytes: u64) {
        if self.whole {
            self.size = bytes;
        }
    }

    /// A file of this size begins.
    pub fn begin(&mut self, size: u64, now: Instant) {
        self.file_size = size;
        if !self.whole {
            self.size = size;
            self.start = (now, 0);
            self.points.clear();
        }
    }

    /// `done` bytes of the file are there; a line if it is time for one.
    pub fn update(&mut self, done: u64, now: Instant) -> Option<Vec<u8>> {
        let recent = |last: &Point| now.saturating_duration_since(last.0) < INTERVAL;
        if self.points.last().is_some_and(recent) {
            return None;
        }
        let done = self.before.saturating_add(done);
        if self.points.len() == HISTORY {
            self.points.remove(0);
        }
        let from = *self.points.first().unwrap_or(&self.start);
        self.points.push((now, done));
        let rate = rate(from, (now, done));
        let left = self.size.saturating_sub(done) as f64;
        let remaining = if rate == 0.0 { 0.0 } else { left / rate / 1000.0 };
        let mut line = self.line(done, rate, remaining, "  ");
        self.pad(&mut line);
        Some(line)
    }

    /// The last line of a file; `files` counts those transferred, this one included. It ends with a
    /// newline, except with progress2, where the next line overwrites it.
    pub fn end(&mut self, files: u64, left: Left, now: Instant) -> Vec<u8> {
        let done = self.before.saturating_add(self.file_size);
        if self.whole {
            self.before = done;
        }
        self.last(done, files, left, now)
    }

    /// With progress2: the line as it stands between two files.
    pub fn again(&mut self, files: u64, left: Left, now: Instant) -> Vec<u8> {
        self.last(self.before, files, left, now)
    }

    /// With progress2: a file counts as done without data.
    pub fn pass(&mut self, size: u64) {
        self.before = self.before.saturating_add(size);
    }

    /// The run with `files` done, what was `left` behind the last of them, and `done` bytes of the
    /// next. The entries left take as long as those before them, and the file in hand its rest.
    pub fn sample(&self, done: u64, files: u64, left: Left, now: Instant) -> Sample {
        let bytes = self.before.saturating_add(done);
        let elapsed = now.saturating_duration_since(self.start.0).as_secs_f64();
        let rate = rate(self.start, (now, bytes)) * 1000.0;
        let passed = left.total.saturating_sub(left.remaining);
        let seconds_left = (left.complete && passed > 0).then(|| {
            let entries = elapsed * left.remaining as f64 / passed as f64;
            let rest = self.file_size.saturating_sub(done) as f64;
            entries + if done > 0 && rate > 0.0 { rest / rate } else { 0.0 }
        });
        Sample { bytes, listed_bytes: self.size, files, left, rate, seconds_left }
    }

    /// Whether the line is about the run and not about a file.
    pub fn whole(&self) -> bool {
        self.whole
    }

    fn last(&mut self, done: u64, files: u64, left: Left, now: Instant) -> Vec<u8> {
        let kind = if left.complete { "to" } else { "ir" };
        let end = format!(" (xfr#{files}, {kind}-chk={}/{})", left.remaining, left.total);
        let elapsed = now.saturating_duration_since(self.start.0).as_secs_f64();
        let rate = rate(self.start, (now, done));
        let mut line = self.line(done, rate, elapsed, &end);
        if self.whole {
            self.pad(&mut line);
        } else {
            line.push(b'\n');
        }
        line
    }

    /// Covers what a longer line before left on the screen.
    fn pad(&mut self, line: &mut Vec<u8>) {
        if self.whole {
            let width = line.len();
            line.resize(width.max(self.width), b' ');
            self.width = width;
        }
    }

    fn line(&self, done: u64, rate: f64, seconds: f64, end: &str) -> Vec<u8> {
        let number = format_number(i64::try_from(done).unwrap_or(i64::MAX), self.human);
        let percent = match self.size {
            size if done == size || size == 0 => 100,
            size => u128::from(done) * 100 / u128::from(size),
        };
        // Bytes per millisecond times 1000, in kB of 1024 and up.
        let (rate, unit) = match rate * 1000.0 / 1024.0 {
            kb if kb <= 1024.0 => (kb, "kB/s"),
            kb if kb <= 1024.0 * 1024.0 => (kb / 1024.0, "MB/s"),
            kb => (kb / 1024.0 / 1024.0, "GB/s"),
        };
        let time = time_text(seconds);
        format!("\r{number:>15} {percent:>3}% {rate:7.2}{unit} {time}{end}").into_bytes()
    }
}

/// Bytes per millisecond.
fn rate(from: Point, to: Point) -> f64 {
    match to.0.saturating_duration_since(from.0).as_millis() {
        0 => 0.0,
        ms => to.1.saturating_sub(from.1) as f64 / ms as f64,
    }
}

fn time_text(seconds: f64) -> String {
    if !(0.0..=HOURS_MAX * 3600.0).contains(&seconds) {
        return "  ??:??:??".to_owned();
    }
    let whole = seconds as u64;
    format!("{:4}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(line: Vec<u8>) -> String {
        String::from_utf8(line).unwrap()
    }

    fn at(start: Instant, ms: u64) -> Instant {
        start + Duration::from_millis(ms)
    }

    #[test]
    fn lines_as_the_reference_prints_them() {
        let start = Instant::now();
        let mut progress = ProgressLine::new(1, 1, start);
        progress.begin(5, start);
        let first = text(progress.update(5, at(start, 1)).unwrap());
        assert_eq!(first, "\r              5 100%    4.88kB/s    0:00:00  ");
        progress.begin(3_000_000, start);
        let left = Left { remaining: 3, total: 6, complete: true };
        let last = text(progress.end(2, left, at(start, 4)));
        let expected = "\r      3,000,000 100%  715.26MB/s    0:00:00 (xfr#2, to-chk=3/6)\n";
        assert_eq!(last, expected);
    }

    #[test]
    fn at_most_one_line_a_second_with_the_time_left() {
        let start = Instant::now();
        let mut progress = ProgressLine::new(1, 1, start);
        progress.begin(1_000_000, start);
        assert!(progress.update(1000, at(start, 10)).is_some());
        assert!(progress.update(2000, at(start, 900)).is_none());
        let line = text(progress.update(11_000, at(start, 1010)).unwrap());
        assert_eq!(line, "\r         11,000   1%    9.77kB/s    0:01:38  ");
        assert_eq!(time_text(1e12), "  ??:??:??");
    }

    #[test]
    fn the_run_as_a_whole_adds_up_and_overwrites() {
        let start = Instant::now();
        let mut progress = ProgressLine::new(2, 1, start);
        progress.set_total(20);
        let left = Left { remaining: 1, total: 2, complete: true };
        progress.begin(5, start);
        let long = progress.end(1, left, at(start, 1));
        progress.begin(15, start);
        let short = progress.update(5, at(start, 1)).unwrap();
        assert_eq!(short.len(), long.len());
        assert!(text(short).starts_with("\r             10  50%"));
    }
}
