//! Local copies: `rsync` and `livemirror rsync` in turns, on the same trees.
//!
//! Many small files and a few large ones, each into an empty directory and again with nothing to
//! do; the large ones by their sums; and one of them over a copy of which one block in a hundred
//! has changed.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use super::transfer::same;
use super::{Bench, WHO, median, print_head, print_row};
use crate::place::{empty_dir, make_dir};
use crate::process::{self, Usage};
use crate::tree::{self, TreeShape};

/// Bytes of a large file.
const LARGE: u64 = 1 << 30;
/// Of the changed file: bytes of a block, one in how many is changed.
const BLOCK: u64 = 32 * 1024;
const CHANGED: u64 = 100;

/// One row of the comparison.
struct Case {
    name: &'static str,
    words: &'static [&'static str],
    /// Below the place: what is copied.
    source: &'static str,
    before: Before,
}

/// What is done to the target before each run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    Emptied,
    LeftAsItIs,
    Changed,
}

const CASES: [Case; 6] = [
    Case {
        name: "small files, everything",
        words: &["-a"],
        source: "small",
        before: Before::Emptied,
    },
    Case {
        name: "small files, nothing new",
        words: &["-a"],
        source: "small",
        before: Before::LeftAsItIs,
    },
    Case {
        name: "large files, everything",
        words: &["-a"],
        source: "large",
        before: Before::Emptied,
    },
    Case {
        name: "large files, nothing new",
        words: &["-a"],
        source: "large",
        before: Before::LeftAsItIs,
    },
    Case {
        name: "large files, by sums",
        words: &["-ac"],
        source: "large",
        before: Before::LeftAsItIs,
    },
    Case {
        name: "one block in a hundred",
        words: &["-a", "--no-whole-file"],
        source: "large",
        before: Before::Changed,
    },
];

/// The bench.
pub(super) fn run(bench: &Bench) -> Result<(), String> {
    let at = |name: &str| bench.place.dir.join(name);
    let bytes = tree::make(&at("small"), &bench.shape)?;
    println!(
        "copy: {} files, {} directories, {bytes} bytes; {} files of {LARGE} bytes",
        bench.shape.files, bench.shape.dirs, bench.large
    );
    let large =
        TreeShape { files: bench.large, dirs: 0, min: LARGE, max: LARGE, ..bench.shape.clone() };
    tree::make(&at("large"), &large)?;
    let target = at("copy");
    make_dir(&target)?;
    for case in CASES.iter().filter(|case| bench.large > 0 || case.source == "small") {
        let source = at(case.source);
        let mut costs: [Vec<Usage>; 2] = Default::default();
        for round in 0..bench.rounds {
            for turn in 0..2 {
                let who = (round + turn) % 2;
                prepare(case, &source, &target)?;
                costs[who].push(process::measured(&mut command(bench, case, &target, who))?);
                same(&source, &target).map_err(|text| format!("{}: {text}", WHO[who]))?;
            }
        }
        print_case(bench, case, &costs);
    }
    std::fs::remove_dir_all(&target).map_err(|error| error.to_string())
}

fn command(bench: &Bench, case: &Case, target: &Path, who: usize) -> Command {
    let mut command = bench.client(who);
    command.args(case.words);
    command.arg(format!("{}/", bench.place.dir.join(case.source).display()));
    command.arg(format!("{}/", target.display()));
    command
}

fn prepare(case: &Case, source: &Path, target: &Path) -> Result<(), String> {
    if case.before == Before::Emptied {
        return empty_dir(target);
    }
    if case.before == Before::LeftAsItIs {
        return Ok(());
    }
    // One file is another there: shorter in time, and with blocks that are new.
    let name = std::fs::read_dir(source)
        .map_err(|error| error.to_string())?
        .filter_map(Result::ok)
        .map(|item| item.file_name())
        .min()
        .ok_or("no file to change")?;
    let changed = || {
        let file = File::options().write(true).open(target.join(&name))?;
        for block in (0..LARGE / BLOCK).step_by(CHANGED as usize) {
            file.write_all_at(&[block as u8; 64], block * BLOCK)?;
        }
        file.set_modified(std::time::UNIX_EPOCH)
    };
    changed().map_err(|error: std::io::Error| format!("{}: {error}", target.display()))
}

/// A line of the table: what it says, and which number it takes.
type Row = (&'static str, fn(&Usage) -> f64);

fn print_case(bench: &Bench, case: &Case, costs: &[Vec<Usage>; 2]) {
    print_head(case.name, bench.rounds);
    let rows: [Row; 3] = [
        ("wall, s", |cost| cost.wall),
        ("CPU, s", |cost| cost.cpu),
        ("peak memory, KiB", |cost| cost.peak_kib),
    ];
    for (label, pick) in rows {
        let [ours, theirs] = [0, 1].map(|who: usize| median(costs[who].iter().map(pick)));
        print_row(label, ours, theirs);
    }
}
