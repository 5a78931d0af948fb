//! Random work on a source, and equal trees at the end.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use mirror::config::SyncConfig;
use mirror::watch::BackendChoice;
use wire::exit::ExitCode;

use crate::harness::{Live, Scratch, Stock, Trouble, assert_equal};

/// A reproducible sequence of numbers.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % n.max(1)
    }
}

/// Does `count` random things below the source. Things that cannot be done are left out.
pub(crate) fn churn(scratch: &Scratch, dice: &mut Dice, count: usize, links: bool) {
    for step in 0..count {
        let (one, other) = (some_path(scratch, dice), some_path(scratch, dice));
        let out = scratch.0.join("out").join(format!("o{}", dice.below(8)));
        let _ = match dice.below(20) {
            0..=3 => fs::write(&one, format!("content {step}")),
            4 | 5 => fs::OpenOptions::new()
                .append(true)
                .open(&one)
                .and_then(|mut f| f.write_all(b"+more")),
            6 | 7 => fs::create_dir(&one),
            8..=10 => fs::rename(&one, &other),
            11 => fs::remove_file(&one),
            12 => fs::remove_dir_all(&one).or_else(|_| fs::remove_file(&one)),
            13 => {
                let mode = [0o600, 0o644, 0o755, 0o711][dice.below(4)]
                    | if one.is_dir() { 0o700 } else { 0 };
                // A mode set through a symbolic link would change another path than meant.
                match fs::symlink_metadata(&one).is_ok_and(|m| !m.is_symlink()) {
                    true => fs::set_permissions(&one, fs::Permissions::from_mode(mode)),
                    false => Ok(()),
                }
            }
            14 => std::os::unix::fs::symlink("d0/f1", &one),
            15 if links => fs::hard_link(&one, &other),
            16 => fs::rename(&one, &out),
            17 => fs::rename(&out, &one),
            18 => fs::create_dir_all(one.join("d3/d4"))
                .and_then(|()| fs::write(one.join("d3/d4/f5"), b"deep")),
            _ => fs::write(&one, b""),
        };
    }
}

fn some_path(scratch: &Scratch, dice: &mut Dice) -> PathBuf {
    let mut path = scratch.src("");
    for _ in 0..dice.below(3) {
        path.push(format!("d{}", dice.below(5)));
    }
    path.push(format!("{}{}", ["f", "d"][dice.below(2)], dice.below(6)));
    path
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
    churn(&scratch, &mut dice, 200, true);
    let mut config = scratch.config();
    config.backend = backend;
    config.options.hard_links = hard_links;
    let mut live = start(config);
    for _ in 0..3 {
        churn(&scratch, &mut dice, 300, true);
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
