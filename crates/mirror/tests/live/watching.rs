//! What each back-end must see, one rule a test.

use std::fs;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use mirror::plan::exclude::Exclude;
use mirror::report::What;
use mirror::run::guard::GuardedSource;
use mirror::watch::BackendChoice;
use mirror::watch::event::{Change, Event};
use mirror::watch::inotify::InotifyWatch;
use rsync::options::FilterArg;

use crate::harness::{Live, Scratch, Stock, assert_equal, dump};

/// Runs a case with each back-end, and with the program's own transfers.
fn each(case: impl Fn(&Scratch, &mut Live)) {
    let ways = [
        (BackendChoice::Inotify, false),
        (BackendChoice::Auto, false),
        (BackendChoice::Auto, true),
    ];
    for (backend, own) in ways {
        let scratch = Scratch::new();
        fs::create_dir_all(scratch.src("a/b")).unwrap();
        fs::write(scratch.src("a/b/old"), b"old").unwrap();
        let mut config = scratch.config();
        config.backend = backend;
        config.options.filters = vec![FilterArg::Exclude(b"*.skip".to_vec())];
        let transfer = Stock::new(&config);
        let mut live = if own { Live::start_own(config) } else { Live::start(config, transfer) };
        live.settle(&scratch);
        case(&scratch, &mut live);
        live.stop();
    }
}

#[test]
fn files_in_directories_made_at_once_arrive() {
    // A failure would lose what is written between mkdir and its watch.
    each(|scratch, live| {
        for n in 0..30 {
            let deep = scratch.src(&format!("n{n}/x/y/z"));
            fs::create_dir_all(&deep).unwrap();
            fs::write(deep.join("f"), b"1").unwrap();
        }
        live.settle(scratch);
        assert_equal(scratch, false);
    });
}

#[test]
fn a_directory_moved_out_is_watched_no_more() {
    // A failure would leak watches, or send changes made outside the source.
    each(|scratch, live| {
        let out = scratch.0.join("out/b");
        fs::rename(scratch.src("a/b"), &out).unwrap();
        live.settle(scratch);
        fs::write(out.join("old"), b"changed outside").unwrap();
        live.settle(scratch);
        assert!(!scratch.dst("a/b").exists());
        assert_equal(scratch, false);
    });
    let scratch = Scratch::new();
    fs::create_dir_all(scratch.src("a/b/c")).unwrap();
    let source = Arc::new(GuardedSource::open(&scratch.config().source).unwrap());
    let exclude = Arc::new(Exclude::new(&[], b"").unwrap());
    let mut watch = InotifyWatch::open(&source, &exclude).unwrap();
    assert_eq!(watch.directories(), 4);
    fs::rename(scratch.src("a/b"), scratch.0.join("out/b")).unwrap();
    let mut events = Vec::new();
    for _ in 0..3 {
        watch.poll(50, &mut events);
    }
    assert_eq!(watch.directories(), 2);
    fs::write(scratch.0.join("out/b/c/f"), b"silent").unwrap();
    events.clear();
    watch.poll(50, &mut events);
    assert_eq!(events, []);
}

#[test]
fn a_directory_moved_inside_keeps_being_watched() {
    // A failure would go deaf below every renamed directory.
    each(|scratch, live| {
        fs::rename(scratch.src("a/b"), scratch.src("moved")).unwrap();
        fs::write(scratch.src("moved/old"), b"changed at once").unwrap();
        live.settle(scratch);
        assert_equal(scratch, false);
        fs::write(scratch.src("moved/old"), b"changed later").unwrap();
        live.settle(scratch);
        assert_equal(scratch, false);
    });
}

fn rename(s: &Scratch, from: &str, to: &str) {
    fs::rename(s.src(from), s.src(to)).unwrap();
}

fn make(s: &Scratch, path: &str) {
    fs::create_dir(s.src(path)).unwrap();
}

/// What an inotify watch says of a write to `path`, after work that it sees only when all is done.
fn seen_after(work: impl Fn(&Scratch), path: &str) -> Vec<Event> {
    let scratch = Scratch::new();
    fs::create_dir_all(scratch.src("a/x")).unwrap();
    fs::create_dir_all(scratch.src("b")).unwrap();
    let source = Arc::new(GuardedSource::open(&scratch.config().source).unwrap());
    let exclude = Arc::new(Exclude::new(&[], b"").unwrap());
    let mut watch = InotifyWatch::open(&source, &exclude).unwrap();
    work(&scratch);
    let mut events = Vec::new();
    // As often as it takes for everything that left to be given up.
    for _ in 0..3 {
        watch.poll(50, &mut events);
    }
    fs::write(scratch.src(path), b"later").unwrap();
    events.clear();
    watch.poll(1000, &mut events);
    events
}

#[test]
fn records_that_lag_behind_the_tree_make_no_directory_deaf() {
    // A failure would lose every later change in a directory, or report it under another path.
    type Work = fn(&Scratch);
    let cases: [(&str, Work, &str); 6] = [
        (
            "made in a directory that moved before the record was read",
            |s| {
                make(s, "a/x/new");
                rename(s, "a/x", "b/x");
            },
            "b/x/new/f",
        ),
        (
            "moved below a directory that moved before the record was read",
            |s| {
                rename(s, "a/x", "b/y");
                rename(s, "b", "c");
            },
            "c/y/f",
        ),
        (
            "another directory of the same names came to the old path",
            |s| {
                make(s, "a/x/new");
                make(s, "t");
                make(s, "t/new");
                rename(s, "a/x", "b/x");
                rename(s, "t", "a/x");
            },
            "b/x/new/f",
        ),
        (
            "and that other one",
            |s| {
                make(s, "a/x/new");
                make(s, "t");
                make(s, "t/new");
                rename(s, "a/x", "b/x");
                rename(s, "t", "a/x");
            },
            "a/x/new/f",
        ),
        (
            "a link to it came to a name where a directory was made",
            |s| {
                make(s, "n");
                fs::remove_dir(s.src("n")).unwrap();
                std::os::unix::fs::symlink("a/x", s.src("n")).unwrap();
            },
            "a/x/f",
        ),
        (
            "out and in again, below another",
            |s| {
                make(s, "a/x/new");
                fs::rename(s.src("a/x"), s.0.join("out/x")).unwrap();
                rename(s, "a", "b/a");
                fs::rename(s.0.join("out/x"), s.src("b/a/x")).unwrap();
            },
            "b/a/x/new/f",
        ),
    ];
    for (title, work, path) in cases {
        let seen = seen_after(work, path);
        let want = Event::Path(path.as_bytes().to_vec(), Change::Settled);
        assert!(seen.contains(&want), "{title}: {seen:?}");
        assert!(seen.iter().all(|e| matches!(e, Event::Path(p, _) if p == path.as_bytes())));
    }
}

#[test]
fn directories_that_swap_their_names_end_up_right() {
    // A failure would mix the content of two directories at the target.
    each(|scratch, live| {
        fs::create_dir(scratch.src("c")).unwrap();
        fs::write(scratch.src("c/other"), b"other").unwrap();
        live.settle(scratch);
        for _ in 0..5 {
            fs::rename(scratch.src("a/b"), scratch.src("t")).unwrap();
            fs::rename(scratch.src("c"), scratch.src("a/b")).unwrap();
            fs::rename(scratch.src("t"), scratch.src("c")).unwrap();
        }
        live.settle(scratch);
        assert_equal(scratch, false);
    });
}

#[test]
fn a_file_that_takes_the_name_of_one_with_the_same_size_and_time_is_sent() {
    // A failure would keep the former content at the target: what is unpacked or built together
    // often shares size and time.
    each(|scratch, live| {
        let time = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_500_000_000);
        for (path, text) in [("a/one", "first"), ("other", "later"), ("a/b/two", "third")] {
            fs::write(scratch.src(path), text).unwrap();
            fs::File::options()
                .append(true)
                .open(scratch.src(path))
                .unwrap()
                .set_modified(time)
                .unwrap();
        }
        live.settle(scratch);
        rename(scratch, "other", "a/one");
        live.settle(scratch);
        assert_equal(scratch, false);
        fs::remove_file(scratch.src("a/one")).unwrap();
        fs::hard_link(scratch.src("a/b/two"), scratch.src("a/one")).unwrap();
        live.settle(scratch);
        assert_equal(scratch, false);
        assert_eq!(fs::read(scratch.dst("a/one")).unwrap(), b"third");
    });
}

#[test]
fn a_file_that_stays_open_is_sent_after_quiet() {
    // A failure would never send logs, or only when their writer ends.
    each(|scratch, live| {
        let mut file = fs::File::create(scratch.src("log")).unwrap();
        file.write_all(b"line 1\n").unwrap();
        let there = || fs::read(scratch.dst("log")).unwrap_or_default();
        live.until("the first line arrives", || there() == b"line 1\n");
        file.write_all(b"line 2\n").unwrap();
        live.until("the second line arrives", || there() == b"line 1\nline 2\n");
    });
}

#[test]
fn a_file_being_written_is_sent_once() {
    // A failure would send half-written files over and over.
    each(|scratch, live| {
        let sent = || live.count(|w| matches!(w, What::Batch { .. }));
        let before = sent();
        let mut file = fs::File::create(scratch.src("big")).unwrap();
        for _ in 0..10 {
            file.write_all(&[7; 1000]).unwrap();
            // Shorter than the quiet period: the file is never at rest before its close.
            std::thread::sleep(Duration::from_millis(20));
        }
        drop(file);
        live.until("it arrives", || scratch.dst("big").exists());
        live.idle();
        assert_eq!(fs::read(scratch.dst("big")).unwrap().len(), 10_000);
        // The directory's own change may go ahead of the file, but the file goes once.
        assert!(sent() - before <= 2, "{} batches", sent() - before);
    });
}

#[test]
fn excluded_names_stay_away_live_as_at_the_start() {
    // A failure would send what is excluded, or delete what the target keeps there.
    each(|scratch, live| {
        fs::write(scratch.dst("a/keep.skip"), b"the target's own").unwrap();
        fs::create_dir(scratch.src("d.skip")).unwrap();
        fs::write(scratch.src("d.skip/f"), b"x").unwrap();
        fs::write(scratch.src("a/x.skip"), b"x").unwrap();
        live.settle(scratch);
        assert!(!scratch.dst("d.skip").exists() && !scratch.dst("a/x.skip").exists());
        fs::rename(scratch.src("d.skip"), scratch.src("d")).unwrap();
        live.settle(scratch);
        assert!(scratch.dst("d/f").exists());
        fs::rename(scratch.src("d"), scratch.src("d.skip")).unwrap();
        live.settle(scratch);
        assert!(!scratch.dst("d").exists());
        fs::remove_dir_all(scratch.src("a")).unwrap();
        live.settle(scratch);
        assert!(!scratch.dst("a/b").exists());
        assert!(scratch.dst("a/keep.skip").exists(), "an excluded name was deleted");
    });
}

#[test]
fn writing_through_one_name_updates_all_names_of_a_file() {
    // A failure would leave the other names stale, since the kernel reports only one.
    for hard_links in [false, true] {
        let scratch = Scratch::new();
        fs::create_dir(scratch.src("d")).unwrap();
        fs::write(scratch.src("one"), b"1").unwrap();
        fs::hard_link(scratch.src("one"), scratch.src("d/two")).unwrap();
        let mut config = scratch.config();
        config.options.hard_links = hard_links;
        let transfer = Stock::new(&config);
        let mut live = Live::start(config, transfer);
        live.settle(&scratch);
        let append = |path: &str, text: &[u8]| {
            let file = fs::OpenOptions::new().append(true).open(scratch.src(path));
            file.unwrap().write_all(text).unwrap();
        };
        append("one", b"2");
        live.settle(&scratch);
        assert_equal(&scratch, hard_links);
        fs::hard_link(scratch.src("one"), scratch.src("three")).unwrap();
        fs::rename(scratch.src("d"), scratch.src("e")).unwrap();
        live.settle(&scratch);
        assert_equal(&scratch, hard_links);
        append("e/two", b"3");
        live.settle(&scratch);
        assert_equal(&scratch, hard_links);
        // The second name of a file comes without an event for the first, here by a detour.
        fs::write(scratch.src("plain"), b"4").unwrap();
        live.settle(&scratch);
        fs::hard_link(scratch.src("plain"), scratch.0.join("out/second")).unwrap();
        live.settle(&scratch);
        fs::rename(scratch.0.join("out/second"), scratch.src("second")).unwrap();
        live.settle(&scratch);
        append("second", b"5");
        live.settle(&scratch);
        assert_equal(&scratch, hard_links);
        // The name that was written to is gone before anybody can look at it.
        for (name, rest) in [("second", "plain"), ("three", "e/two")] {
            append(name, b"6");
            fs::rename(scratch.src(name), scratch.0.join("out").join(name)).unwrap();
            live.settle(&scratch);
            assert_equal(&scratch, hard_links);
            append(rest, b"7");
            fs::remove_file(scratch.src(rest)).unwrap();
            live.settle(&scratch);
            assert_equal(&scratch, hard_links);
        }
        live.stop();
    }
}

#[test]
fn without_deletions_nothing_is_deleted() {
    // A failure would delete from targets of people who never asked for it.
    let scratch = Scratch::new();
    fs::create_dir(scratch.src("d")).unwrap();
    fs::write(scratch.src("d/f"), b"x").unwrap();
    fs::write(scratch.dst("own"), b"x").unwrap();
    let mut config = scratch.config();
    config.delete = false;
    let transfer = Stock::new(&config);
    let live = Live::start(config, transfer);
    live.idle();
    fs::rename(scratch.src("d"), scratch.src("e")).unwrap();
    fs::remove_file(scratch.src("e/f")).unwrap();
    fs::write(scratch.src("last"), b"x").unwrap();
    live.until("the last file arrives", || scratch.dst("last").exists());
    live.idle();
    let target = dump(&scratch.dst(""), false);
    for name in ["d/f:", "own:", "e:"] {
        assert!(target.lines().any(|l| l.starts_with(name)), "{name} is gone\n{target}");
    }
    live.stop();
}
