//! The queue against scripts: a line an event, then what it must hold.

use super::*;

/// Runs a script of `+path change` lines, `take`, `landed`, `failed`, `caught-up`, and returns the queue.
fn play(script: &str, caps: Caps) -> Queue {
    let mut queue = Queue::new(2000, caps);
    for (now, line) in script.lines().map(str::trim).filter(|l| !l.is_empty()).enumerate() {
        let now = now as u64;
        match line.split_once(' ') {
            None if line == "take" => drop(queue.take(usize::MAX)),
            None if line == "full" => queue.take_full(),
            None if line == "part" => queue.take_part(),
            None if line == "landed" => queue.landed(),
            None if line == "failed" => queue.failed(),
            None if line == "caught-up" => queue.caught_up(queue.to_catch_up().unwrap()),
            None if line == "doubt" => queue.doubt(now),
            Some((path, change)) => {
                let path = if path == "." { "" } else { path };
                queue.add(path.as_bytes(), named(change), now);
            }
            None => panic!("unknown line {line}"),
        }
        check_counts(&queue);
    }
    queue
}

fn named(change: &str) -> Change {
    match change {
        "settled" => Change::Settled,
        "arrived" => Change::Arrived,
        "attributes" => Change::Attributes,
        "writing" => Change::Writing,
        "appeared" => Change::Appeared,
        "made-dir" => Change::MadeDir,
        "subtree" => Change::Subtree,
        "gone" => Change::Gone { dir: false },
        "gone-dir" => Change::Gone { dir: true },
        other => panic!("unknown change {other}"),
    }
}

/// The running counts must agree with what is held, whatever happened.
fn check_counts(queue: &Queue) {
    let pending = &queue.pending;
    assert_eq!(queue.ready, pending.values().filter(|d| d.wait == Wait::Ready).count());
    assert_eq!(queue.subtrees, pending.values().filter(|d| d.kind == Kind::Subtree).count());
    assert_eq!(queue.bytes, pending.keys().map(Vec::len).sum::<usize>());
}

fn dump(queue: &Queue) -> String {
    let mut out = String::new();
    if queue.doubt.is_some() {
        out.push_str("everything\n");
    }
    for (path, dirty) in &queue.pending {
        let kind = match (dirty.kind, dirty.left_dir) {
            (Kind::Entry, _) => "entry",
            (Kind::Subtree, _) => "subtree",
            (Kind::Gone, false) => "gone",
            (Kind::Gone, true) => "gone whole",
        };
        let name = if path.is_empty() { ".".into() } else { String::from_utf8_lossy(path) };
        out.push_str(&format!("{name} {kind}\n"));
    }
    out
}

#[test]
fn the_cases_of_the_data_file() {
    // A failure would mean that a sequence of events leaves the target different.
    let mut seen = 0;
    for case in include_str!("queue_cases.txt").split("\n\n").filter(|c| c.contains("=>")) {
        let (title, rest) = case.trim_start().split_once('\n').unwrap();
        let (script, want) = rest.split_once("=>").unwrap();
        let want: String = want.lines().map(str::trim).filter(|l| !l.is_empty()).fold(
            String::new(),
            |mut all, line| {
                all.push_str(line);
                all.push('\n');
                all
            },
        );
        assert_eq!(dump(&play(script, Caps::default())), want, "{title}");
        seen += 1;
    }
    assert!(seen >= 15, "only {seen} cases were found");
}

#[test]
fn what_may_be_another_file_flies_apart_from_what_was_written_to() {
    // A failure would compare the content of everything, or of nothing.
    let mut queue = play("log settled\nnew arrived\nold gone\nlog attributes\n", Caps::default());
    let names = |taken: Vec<(Vec<u8>, Dirty)>| -> Vec<(String, bool)> {
        taken.into_iter().map(|(p, d)| (String::from_utf8(p).unwrap(), d.anew)).collect()
    };
    assert_eq!(names(queue.take(9)), [("log".to_owned(), false)]);
    assert_eq!(names(queue.take(9)), [("new".to_owned(), true), ("old".to_owned(), true)]);
    assert!(queue.take(9).is_empty());
}

#[test]
fn beyond_the_cap_the_fullest_directory_is_taken_whole() {
    // A failure would mean unbounded memory while a target is down, or a lost path.
    let caps = Caps { entries: 10, bytes: 10_000 };
    let mut script = String::from("b/one settled\n");
    for n in 0..10 {
        script.push_str(&format!("a/d/{n} settled\n"));
    }
    let queue = play(&script, caps);
    assert_eq!(dump(&queue), "a/d subtree\nb/one entry\n");
    assert_eq!(queue.oldest(), Some(0));
}

#[test]
fn beyond_the_cap_at_the_top_everything_is_compared() {
    // A failure would mean that the shrinking never ends, or that it sends the root by name.
    let caps = Caps { entries: 10, bytes: 10_000 };
    let script: String = (0..11).map(|n| format!("file{n} gone\n")).collect();
    let queue = play(&script, caps);
    assert_eq!(dump(&queue), "everything\n");
    assert_eq!(queue.oldest(), Some(0));
}

#[test]
fn names_beyond_the_byte_cap_are_collapsed_too() {
    // A failure would let a few long names take all memory.
    let caps = Caps { entries: 1000, bytes: 100 };
    let script: String = (0..5).map(|n| format!("d/{}{n} gone\n", "x".repeat(30))).collect();
    assert!(dump(&play(&script, caps)).contains("d subtree\n"));
}

#[test]
fn a_written_file_is_due_after_quiet_and_a_closed_one_at_once() {
    // A failure would send half-written files or delay finished ones.
    let mut queue = Queue::new(2000, Caps::default());
    queue.add(b"log", Change::Writing, 0);
    assert_eq!(queue.due(0), Due::At(2000));
    queue.add(b"log", Change::Writing, 1500);
    // The alarm is a lower bound: it may ring for nothing, but not too late.
    assert_eq!(queue.due(2000), Due::At(3500));
    queue.add(b"other", Change::Settled, 2100);
    assert_eq!(queue.due(2100), Due::Paths);
    assert_eq!(queue.take(10).len(), 1);
    queue.landed();
    assert_eq!(queue.due(3499), Due::At(3500));
    assert_eq!(queue.due(3500), Due::Paths);
}

#[test]
fn a_new_file_waits_for_a_look_and_then_for_its_close() {
    // A failure would lose links, or send files that are just being made.
    let mut queue = Queue::new(2000, Caps::default());
    queue.add(b"link", Change::Appeared, 0);
    queue.add(b"new", Change::Appeared, 0);
    queue.add(b"closed", Change::Appeared, 0);
    queue.add(b"closed", Change::Settled, 1);
    assert_eq!(queue.to_look(), vec![b"link".to_vec(), b"new".to_vec()]);
    assert!(queue.to_look().is_empty());
    queue.looked(b"link", false);
    queue.looked(b"new", true);
    check_counts(&queue);
    let taken: Vec<_> = queue.take(10).into_iter().map(|(p, _)| p).collect();
    assert_eq!(taken, vec![b"closed".to_vec(), b"link".to_vec()]);
    queue.landed();
    assert_eq!(queue.due(1), Due::At(2000));
}

#[test]
fn only_what_failed_is_owed_again_and_later_each_time() {
    // A failure would resend what arrived, or hammer at a path that cannot be sent.
    let mut queue = Queue::new(2000, Caps::default());
    queue.add(b"bad", Change::Settled, 0);
    queue.add(b"good", Change::Settled, 0);
    for round in 0..3u64 {
        let now = round * 1000;
        assert_eq!(queue.due(now), Due::Paths);
        queue.take(10);
        queue.part_failed(&[(b"bad".to_vec(), false)], now, &mut |tries| 100 << tries);
        assert_eq!((queue.len(), queue.due(now)), (1, Due::At(now + (100 << round))));
    }
    queue.add(b"bad", Change::Settled, 2001);
    assert_eq!(queue.due(2001), Due::Paths);
    assert_eq!(queue.oldest(), Some(0));
}

#[test]
fn a_failed_comparison_of_everything_is_owed_again() {
    // A failure would leave a target behind for good after one broken connection.
    let mut queue = play("doubt\nfull\na settled", Caps::default());
    assert_eq!(queue.len(), 2);
    queue.failed();
    assert_eq!((dump(&queue).as_str(), queue.oldest()), ("everything\n", Some(0)));
}
