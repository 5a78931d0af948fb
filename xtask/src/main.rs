//! The developer's tasks: `cargo xtask tree|bench|churn|fuzz`. No part of the product.

// A task's output is its result.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod allocation;
mod arguments;
mod bench;
mod churn;
mod fuzz;
mod place;
mod process;
mod tree;

use std::process::ExitCode;

use arguments::Arguments;

#[global_allocator]
static MEMORY: allocation::Counting = allocation::Counting;

const USAGE: &str = "\
cargo xtask tree DIR [--files N] [--dirs N] [--min B] [--max B] [--seed S]
    makes a tree that follows from its parameters (B may end in k, m or g)

cargo xtask fuzz [--seconds N] [--target NAME] [--seed S] [--findings DIR]
    feeds changed seeds to every decoder; fails if one panics or takes too much memory
cargo xtask fuzz --target NAME --input FILE
    runs one input again
cargo xtask fuzz --corpus DIR
    writes the seeds, for cargo fuzz

cargo xtask bench [copy] [transfer] [live] [--files N] [--dirs N] [--min B] [--max B] [--seed S]
                  [--rounds N] [--large N] [--changes N] [--burst N] [--events N] [--no-strace]
                  [--daemon rsync|livemirror]
                  [--livemirror PATH] [--dir DIR]
    copy: rsync and livemirror rsync, in turns, local copies of the tree and of N files of a GiB,
    new, unchanged, by sums, in part changed; transfer: the same to one daemon and back from it:
    everything, then nothing new; live: livemirror watch beside lsyncd with delay 0 and 1. Prints
    times, processor time, memory, system calls, and ratios. Promises nothing: numbers are for
    reading.

cargo xtask churn [--seeds N] [--first N] [--operations N] [--backend inotify|fanotify|auto|all]
                  [--trouble none|daemon|self|queue|all] [--times N] [--hard-links no|yes|all]
                  [--daemon rsync|livemirror|all] [--keep] [--livemirror PATH] [--dir DIR]
    random work below `livemirror watch --delete`, a run for each seed and each choice, and equal
    trees at its end; fails on any difference. Troubles, N times a run: the daemon is killed and
    started again; the mirror itself is; the mirror is held while the kernel has room for 64
    events only (queue; needs root). --keep leaves what a failed run has worked on.
";

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let task = words.next().unwrap_or_default();
    let mut args = Arguments::new(words);
    let done = match task.as_str() {
        "tree" => tree::run(&mut args),
        "fuzz" => fuzz::run(&mut args),
        "bench" => bench::run(&mut args),
        "churn" => churn::run(&mut args),
        "" | "help" | "--help" => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        other => Err(format!("unknown task {other}\n\n{USAGE}")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("xtask: {text}");
            ExitCode::FAILURE
        }
    }
}
