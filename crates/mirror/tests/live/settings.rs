//! Settings of a sync that change when things happen: the delay, when deletions count, no first pass.

use std::fs;
use std::time::{Duration, Instant};

use mirror::config::{DeleteOnly, SyncConfig};

use crate::harness::{Live, Scratch};

#[test]
fn changes_are_collected_for_the_delay_or_to_a_number() {
    // A failure would send each change by itself though a delay was asked for, or hold a storm.
    let scratch = Scratch::new();
    let config = SyncConfig { delay_ms: 2000, max_delays: 3, ..scratch.config() };
    let live = Live::start_own(config);
    live.until("the first pass is done", || live.shared.status().passes == 1);
    let start = Instant::now();
    fs::write(scratch.src("one"), b"1").unwrap();
    live.until("it arrives", || scratch.dst("one").exists());
    assert!(start.elapsed() >= Duration::from_millis(1900), "{:?}", start.elapsed());
    live.idle();
    let start = Instant::now();
    for name in ["a", "b", "c", "d"] {
        fs::write(scratch.src(name), b"1").unwrap();
    }
    live.until("they arrive", || scratch.dst("a").exists());
    assert!(start.elapsed() < Duration::from_millis(1900), "{:?}", start.elapsed());
}

#[test]
fn deletions_count_at_the_start_or_afterwards() {
    // A failure would delete what was to stay, or keep what was to go.
    for only in [DeleteOnly::Whole, DeleteOnly::Changes] {
        let scratch = Scratch::new();
        fs::write(scratch.dst("old"), b"x").unwrap();
        fs::write(scratch.src("new"), b"x").unwrap();
        let config = SyncConfig { delete_only: Some(only), ..scratch.config() };
        let live = Live::start_own(config);
        live.until("the first pass is done", || scratch.dst("new").exists());
        live.idle();
        assert_eq!(scratch.dst("old").exists(), only == DeleteOnly::Changes);
        fs::remove_file(scratch.src("new")).unwrap();
        fs::write(scratch.src("last"), b"x").unwrap();
        live.until("the changes are sent", || scratch.dst("last").exists());
        live.idle();
        assert_eq!(scratch.dst("new").exists(), only == DeleteOnly::Whole);
    }
}

#[test]
fn without_a_first_pass_only_changes_are_sent() {
    // A failure would copy a tree that was to be left alone.
    let scratch = Scratch::new();
    fs::write(scratch.src("before"), b"x").unwrap();
    let live = Live::start_own(SyncConfig { skip_first: true, ..scratch.config() });
    live.until("the watch is open", || !live.reports.lock().unwrap().is_empty());
    fs::write(scratch.src("after"), b"x").unwrap();
    live.until("it arrives", || scratch.dst("after").exists());
    assert!(!scratch.dst("before").exists());
}
