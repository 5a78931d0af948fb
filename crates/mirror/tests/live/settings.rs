//! Settings of a sync that change when things happen: the delay, when deletions count, no first pass.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use mirror::config::crontab::Crontab;
use mirror::config::{DeleteOnly, ExitRule, Once, SyncConfig};
use mirror::report::What;
use mirror::run::sync::End;
use rsync::options::FilterArg;

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

#[test]
fn everything_is_compared_from_time_to_time() {
    // A failure would never mend what somebody else did at the target.
    let scratch = Scratch::new();
    fs::write(scratch.src("file"), b"x").unwrap();
    let live = Live::start_own(SyncConfig { compare_every_ms: 300, ..scratch.config() });
    live.until("the first pass is done", || live.shared.status().passes == 1);
    fs::remove_file(scratch.dst("file")).unwrap();
    live.until("it is back", || scratch.dst("file").exists());
}

#[test]
fn comparisons_by_time_may_leave_something_out() {
    // A failure would walk through what was to be left alone, or never send its changes.
    let scratch = Scratch::new();
    for name in ["kept.php", "file"] {
        fs::write(scratch.src(name), b"x").unwrap();
    }
    let timed_filters = vec![FilterArg::Exclude(b"*.php".to_vec())];
    let live =
        Live::start_own(SyncConfig { compare_every_ms: 300, timed_filters, ..scratch.config() });
    live.until("the first pass is done", || live.shared.status().passes >= 1);
    assert!(scratch.dst("kept.php").exists());
    fs::remove_file(scratch.dst("kept.php")).unwrap();
    fs::remove_file(scratch.dst("file")).unwrap();
    fs::write(scratch.dst("other.php"), b"x").unwrap();
    live.until("it is back", || scratch.dst("file").exists());
    let passes = live.shared.status().passes;
    live.until("another pass is done", || live.shared.status().passes > passes + 1);
    assert!(!scratch.dst("kept.php").exists() && scratch.dst("other.php").exists());
    fs::write(scratch.src("kept.php"), b"more").unwrap();
    live.until("its change is sent", || scratch.dst("kept.php").exists());
}

#[test]
fn everything_is_compared_by_the_clock() {
    // A failure would leave the nightly comparison out that somebody relies on.
    let scratch = Scratch::new();
    fs::write(scratch.src("file"), b"x").unwrap();
    let crontab = vec![Crontab::parse("* * * * * *").unwrap()];
    let live = Live::start_own(SyncConfig { crontab, ..scratch.config() });
    live.until("the first pass is done", || live.shared.status().passes > 0);
    fs::remove_file(scratch.dst("file")).unwrap();
    live.until("it is back", || scratch.dst("file").exists());
}

#[test]
fn a_missing_target_is_made_as_a_directory_whatever_comes_first() {
    // A failure would put an empty source, or the first file, in the place of the target.
    for (contents, skip_first) in [(true, false), (false, false), (true, true)] {
        let scratch = Scratch::new();
        let target = scratch.0.join("new");
        let bytes = target.to_str().unwrap().as_bytes().to_vec();
        let config = SyncConfig { contents, skip_first, target: bytes, ..scratch.config() };
        let live = Live::start_own(config);
        live.until("the watch is open", || !live.reports.lock().unwrap().is_empty());
        if !skip_first {
            live.until("the first pass is done", || live.shared.status().passes == 1);
            assert!(target.join(if contents { "" } else { "src" }).is_dir());
        }
        fs::write(scratch.src("file"), b"x").unwrap();
        let file = target.join(if contents { "file" } else { "src/file" });
        live.until("it arrives", || file.exists());
    }
}

#[test]
fn a_single_pass_ends_by_itself() {
    // A failure would wait for ever at the end of a script, or tell it that all is well.
    let scratch = Scratch::new();
    fs::write(scratch.src("file"), b"x").unwrap();
    let once = Some(Once::Tried);
    let live = Live::start_own(SyncConfig { once, ..scratch.config() });
    assert_eq!(live.end(), End::Asked);
    assert!(scratch.dst("file").exists());
    let target = scratch.0.join("no/such/place").to_str().unwrap().as_bytes().to_vec();
    for once in [Once::Tried, Once::Done] {
        let config = SyncConfig { once: Some(once), target: target.clone(), ..scratch.config() };
        let live = Live::start_own(config);
        if once == Once::Tried {
            assert!(
                matches!(live.end(), End::Refused(refusal) if refusal.text.contains("code 11"))
            );
            continue;
        }
        live.until("it failed", || live.shared.status().last_error.is_some());
        fs::create_dir_all(scratch.0.join("no/such")).unwrap();
        assert_eq!(live.end(), End::Asked);
        assert!(scratch.0.join("no/such/place/file").exists());
    }
}

#[test]
fn exit_codes_count_as_what_they_are_called() {
    // A failure would try for ever what somebody has called done, or go on after what ends all.
    for (rule, ends) in [(ExitRule::Die, true), (ExitRule::Again, false), (ExitRule::Good, false)] {
        let scratch = Scratch::new();
        let target = scratch.0.join("no/such/place").to_str().unwrap().as_bytes().to_vec();
        let exits = [(11, rule)].into();
        let live = Live::start_own(SyncConfig { exits, target, ..scratch.config() });
        if ends {
            let shared = std::sync::Arc::clone(&live.shared);
            assert!(matches!(live.end(), End::Refused(_)));
            assert!(shared.ends_all());
        } else if rule == ExitRule::Good {
            live.until("it counts as done", || live.shared.status().passes == 1);
        } else {
            live.until("it is tried again", || live.shared.status().last_error.is_some());
        }
    }
}

#[test]
fn large_files_go_by_themselves_after_the_others() {
    // A failure would hold small changes back behind a large one of the same batch.
    let scratch = Scratch::new();
    let config = SyncConfig { alone_above: Some(10_000), delay_ms: 1000, ..scratch.config() };
    let live = Live::start_own(config);
    live.until("the first pass is done", || live.shared.status().passes == 1);
    fs::write(scratch.src("a-large"), vec![b'x'; 1_000_000]).unwrap();
    fs::write(scratch.src("small"), b"x").unwrap();
    live.until("they arrive", || live.shared.status().batches > 0);
    let made = |name: &str| {
        let meta = fs::metadata(scratch.dst(name)).unwrap();
        (meta.ctime(), meta.ctime_nsec())
    };
    assert!(made("small") < made("a-large"), "by name it would be the other way round");
    let reports = live.reports.lock().unwrap();
    let names: Vec<usize> = reports
        .iter()
        .filter_map(|r| if let What::Batch { names, .. } = &r.what { Some(*names) } else { None })
        .collect();
    assert_eq!(names, [2], "one batch for those who count");
}
