//! A look at files that waits until the clock of the file system has left the time of their last
//! change. Called by the scanner where its caller asks for it.
//!
//! That clock stands still for some milliseconds. A name that is written again, or taken by another
//! file, within one such step may have another content with the same size and the same time; had
//! the former content been sent in between, no later comparison would see the difference. What
//! changes after this look has another time.
//!
//! Not guaranteed: anything where times are stored in steps of a second, or set back on purpose.

use std::io;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tree::dir::Dir;
use tree::meta::Meta;
use tree::path::Name;

/// Longest step of the clock, in nanoseconds: a time further ahead is of another clock.
const STEP_MAX_NS: i128 = 20_000_000;
/// Between two looks at the clock.
const PAUSE: Duration = Duration::from_micros(500);
/// Looks at a file that changes in every step. Its last change is told by an event of its own.
const LOOKS_MAX: usize = 16;

/// Looks at an item as [`Dir::lstat`]; a regular file is settled, but for one that never rests.
pub fn lstat(dir: &Dir, name: &Name) -> io::Result<Option<Meta>> {
    for _ in 1..LOOKS_MAX {
        let found = dir.lstat(name)?;
        match &found {
            Some(meta) if meta.is_file() && is_now(meta) => {}
            _ => return Ok(found),
        }
        while found.as_ref().is_some_and(is_now) {
            std::thread::sleep(PAUSE);
        }
    }
    dir.lstat(name)
}

/// Whether a change in this moment could have the same time as the last one.
fn is_now(meta: &Meta) -> bool {
    let now = clock_gettime(ClockId::RealtimeCoarse);
    let ahead =
        nanoseconds(meta.mtime, i64::from(meta.mtime_nsec)) - nanoseconds(now.tv_sec, now.tv_nsec);
    (0..STEP_MAX_NS).contains(&ahead)
}

fn nanoseconds(seconds: i64, part: i64) -> i128 {
    i128::from(seconds) * 1_000_000_000 + i128::from(part)
}

#[cfg(test)]
mod tests {
    // A case that cannot be set up is a failure.
    #![allow(clippy::unwrap_used)]

    use tree::root::Root;

    use super::*;

    #[test]
    fn what_takes_a_name_after_the_look_has_another_time() {
        // A failure would leave the former content at the target for good.
        let place = std::env::temp_dir().join(format!("settled-{}", std::process::id()));
        std::fs::create_dir(&place).unwrap();
        let path = place.join("file");
        let root = Root::open(place.as_os_str().as_encoded_bytes()).unwrap();
        let name = Name::new(b"file").unwrap();
        for _ in 0..100 {
            std::fs::write(&path, b"one").unwrap();
            let sent = lstat(root.top(), name).unwrap().unwrap();
            std::fs::remove_file(&path).unwrap();
            std::fs::write(&path, b"two").unwrap();
            let now = root.top().lstat(name).unwrap().unwrap();
            assert_ne!((sent.mtime, sent.mtime_nsec), (now.mtime, now.mtime_nsec));
        }
        std::fs::remove_dir_all(&place).unwrap();
    }
}
