//! Random work on a source, and equal trees at the end.

use livemirror_tests::churn::{Churn, Dice};
use mirror::config::SyncConfig;
use mirror::watch::BackendChoice;
use wire::exit::ExitCode;

use crate::harness::{Live, Scratch, Stock, Trouble, assert_equal};

/// Does `count` random things below the source.
fn churn(scratch: &Scratch, dice: &mut Dice, count: usize) {
    let (source, outside) = (scratch.src(""), scratch.0.join("out"));
    let churn = Churn { source: &source, outside: &outside, depth: 2 };
    (0..count).for_each(|number| churn.step(dice, number));
}

fn run(backend: BackendChoice, seed: u64, hard_links: bool, trouble: fn(u32) -> Trouble) {
    run_with(backend, seed, hard_links, |config| {
        let transfer = Stock::with_trouble(&config, trouble);
        Live::start(config, transfer)
    });
}

fn run_with(
    backend: BackendChoice,
    seed: u64,
    hard_links: bool,
    start: impl FnOnce(SyncConfig) -> Live,
) {
    let scratch = Scratch::new();
    let mut dice = Dice(seed);
    churn(&scratch, &mut dice, 200);
    let mut config = scratch.config();
    config.backend = backend;
    config.options.hard_links = hard_links;
    let mut live = start(config);
    for _ in 0..3 {
        churn(&scratch, &mut dice, 300);
        live.settle(&scratch);
        assert_equal(&scratch, hard_links);
    }
    live.stop();
}

#[test]
fn trees_are_equal_after_churn_with_inotify() {
    // A failure would mean that a change is lost or something stays on the target.
    for seed in 0..3 {
        run(BackendChoice::Inotify, seed, false, |_| Trouble::None);
    }
}

#[test]
fn trees_are_equal_after_churn_with_the_best_back_end() {
    // A failure would mean the same for fanotify, where it can be used.
    for seed in 10..13 {
        run(BackendChoice::Auto, seed, false, |_| Trouble::None);
    }
}

#[test]
fn trees_are_equal_after_churn_with_own_transfers() {
    // A failure would mean that names and options of a batch do not mean to the program's own
    // transfers what they mean to the reference program.
    for (seed, hard_links) in [(30, false), (31, true)] {
        run_with(BackendChoice::Auto, seed, hard_links, Live::start_own);
    }
}

#[test]
fn trees_are_equal_while_the_target_fails_half_the_time() {
    // A failure would mean that a failed batch is forgotten, or half of it trusted.
    for (seed, backend) in [(20, BackendChoice::Inotify), (21, BackendChoice::Auto)] {
        run(backend, seed, false, |n| match n % 4 {
            1 => Trouble::Before(ExitCode::SocketIo),
            2 => Trouble::After(ExitCode::StreamIo),
            _ => Trouble::None,
        });
    }
}
