//! `cargo xtask fuzz`: feeds changed seeds to every decoder, in this process, on any toolchain.
//!
//! Steps, for each target in turn until the time is over:
//! 1. take a seed or an input that made a decoder use more memory than any before it, and change
//!    it in one to six places (flip, overwrite, cut, repeat, insert, splice, cut off);
//! 2. run the target; a panic, or more memory than [`MEMORY_BASE`] and [`MEMORY_PER_BYTE`] allow,
//!    is a finding: the input is written to a file, and the run fails at the end.
//!
//! It has no coverage to go by, so it does not replace `cargo fuzz` over `fuzz/`; it shows that
//! nothing near a valid input ends a decoder. The inputs of a run follow from its seed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use xtask::decoders::{TARGETS, Target};
use xtask::random::Random;
use xtask::seeds;

use crate::allocation;
use crate::arguments::Arguments;

/// Memory any input may take, in bytes: tables and buffers of fixed size.
const MEMORY_BASE: usize = 4 << 20;
/// What each byte of input may take beside that, in bytes: names and rules are kept in structures.
const MEMORY_PER_BYTE: usize = 2048;
/// Longest input, in bytes.
const INPUT_MAX: usize = 64 << 10;
/// Inputs kept beside the seeds.
const KEPT_MAX: usize = 256;
/// Findings after which a target is left alone.
const FINDINGS_MAX: usize = 3;
/// An input that takes longer is shown for a look, and no more: machines differ.
const SLOW: Duration = Duration::from_millis(250);
/// Inputs between two looks at the clock.
const BATCH: u64 = 64;

struct Finding {
    target: &'static str,
    what: String,
    file: PathBuf,
}

/// The command.
pub(crate) fn run(args: &mut Arguments) -> Result<(), String> {
    let seconds: u64 = args.number("seconds", 20)?;
    let seed: u64 = args.number("seed", 1)?;
    let only = args.text("target");
    let keep = PathBuf::from(args.text("findings").unwrap_or("target/fuzz-findings".into()));
    let corpus = args.text("corpus");
    let input = args.text("input");
    args.finish()?;
    if let Some(dir) = corpus {
        return write_corpus(Path::new(&dir));
    }
    let targets: Vec<&Target> =
        TARGETS.iter().filter(|(name, _)| only.as_deref().is_none_or(|o| o == *name)).collect();
    if targets.is_empty() {
        return Err(format!("no such target; there are {}", names()));
    }
    if let Some(file) = input {
        return replay(&targets, &file);
    }
    let share = Duration::from_secs(seconds) / targets.len() as u32;
    // A finding is told in one line; the standard message would be lost among thousands.
    std::panic::set_hook(Box::new(|_| {}));
    let mut findings = Vec::new();
    for target in targets {
        findings.extend(attack(target, seed, share, &keep));
    }
    let _ = std::panic::take_hook();
    for found in &findings {
        println!("fuzz: {}: {}: {}", found.target, found.what, found.file.display());
    }
    match findings.len() {
        0 => Ok(()),
        n => Err(format!("{n} findings")),
    }
}

fn names() -> String {
    TARGETS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

/// Runs one input, such as a finding, with the standard message where it panics.
fn replay(targets: &[&Target], file: &str) -> Result<(), String> {
    let [(name, target)] = targets else { return Err("--input needs --target".into()) };
    let input = std::fs::read(file).map_err(|error| format!("{file}: {error}"))?;
    let begun = Instant::now();
    let ((), peak) = allocation::peak_of(|| target(&input));
    println!("fuzz: {name}: {} bytes, {peak} bytes at once, {:?}", input.len(), begun.elapsed());
    Ok(())
}

fn write_corpus(dir: &Path) -> Result<(), String> {
    for (name, _) in TARGETS {
        let dir = dir.join(name);
        std::fs::create_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
        for (number, seed) in seeds::of(name).iter().enumerate() {
            let file = dir.join(format!("seed-{number:03}"));
            std::fs::write(&file, seed).map_err(|e| format!("{}: {e}", file.display()))?;
        }
    }
    Ok(())
}

fn attack((name, target): &Target, seed: u64, share: Duration, keep: &Path) -> Vec<Finding> {
    let mut random = Random::new(seed);
    let mut pool = seeds::of(name);
    let fixed = pool.len();
    let mut findings: Vec<Finding> = Vec::new();
    let (mut runs, mut peak_max, mut slowest) = (0_u64, 0, Duration::ZERO);
    let started = Instant::now();
    let mut input = Vec::new();
    let mut slow_input = Vec::new();
    while findings.len() < FINDINGS_MAX
        && (!runs.is_multiple_of(BATCH) || started.elapsed() < share)
    {
        // The seeds themselves first, as they are.
        input.clear();
        match pool.get(usize::try_from(runs).unwrap_or(usize::MAX)).filter(|_| runs < fixed as u64)
        {
            Some(seed) => input.extend_from_slice(seed),
            None => change(&mut input, &pool, &mut random),
        }
        runs += 1;
        let begun = Instant::now();
        let (result, peak) =
            allocation::peak_of(|| catch_unwind(AssertUnwindSafe(|| target(&input))));
        if begun.elapsed() > slowest {
            slowest = begun.elapsed();
            slow_input.clone_from(&input);
        }
        let what = match result {
            Err(cause) => Some(text_of(cause.as_ref())),
            Ok(()) if peak > MEMORY_BASE + MEMORY_PER_BYTE * input.len() => {
                Some(format!("{peak} bytes of memory for {} of input", input.len()))
            }
            Ok(()) => None,
        };
        if let Some(what) = what
            && findings.iter().all(|found| found.what != what)
        {
            findings.push(Finding { target: name, what, file: store(keep, name, &input) });
        }
        if peak > peak_max {
            peak_max = peak;
            if pool.len() < fixed + KEPT_MAX {
                pool.push(input.clone());
            }
        }
    }
    if slowest > SLOW {
        let file = store(keep, name, &slow_input);
        println!("fuzz: {name}: {slowest:?} for one input (no failure): {}", file.display());
    }
    println!("fuzz: {name}: {runs} inputs, at most {} KiB at once", peak_max / 1024);
    findings
}

fn text_of(cause: &(dyn std::any::Any + Send)) -> String {
    let text = cause.downcast_ref::<&str>().map(|text| (*text).to_string());
    text.or_else(|| cause.downcast_ref::<String>().cloned()).unwrap_or("a panic".to_string())
}

fn store(keep: &Path, name: &str, input: &[u8]) -> PathBuf {
    let sum = input.iter().fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let file = keep.join(format!("{name}-{sum:016x}"));
    let written = std::fs::create_dir_all(keep).and_then(|()| std::fs::write(&file, input));
    match written {
        Ok(()) => file,
        Err(error) => PathBuf::from(format!("(not written: {error})")),
    }
}

/// Numbers at which a length or a sign turns.
const EDGES: &[u32] =
    &[0, 1, 0x7f, 0x80, 0xff, 0x100, 0x7fff, 0x8000, 0xffff, 0x7fff_ffff, 0x8000_0000, u32::MAX];

fn change(input: &mut Vec<u8>, pool: &[Vec<u8>], random: &mut Random) {
    if let Some(seed) = pool.get(random.below(pool.len())) {
        input.extend_from_slice(seed);
    }
    for _ in 0..=random.below(6) {
        let at = random.below(input.len());
        let end = (at + 1 + random.below(16)).min(input.len());
        match random.below(9) {
            0 if !input.is_empty() => input[at] ^= 1 << random.below(8),
            1 if !input.is_empty() => input[at] = random.next_u64() as u8,
            2 => {
                let edge = EDGES[random.below(EDGES.len())].to_le_bytes();
                for (place, byte) in input[at.min(end)..].iter_mut().zip(edge) {
                    *place = byte;
                }
            }
            3 if at < end => drop(input.drain(at..end)),
            4 if at < end => {
                let piece = input[at..end].repeat(1 + random.below(64));
                input.splice(at..at, piece);
            }
            5 => {
                let mut piece = vec![0; 1 + random.below(8)];
                random.fill(&mut piece);
                input.splice(at..at, piece);
            }
            6 => {
                if let Some(other) = pool.get(random.below(pool.len())) {
                    let from = random.below(other.len());
                    input.truncate(at);
                    input.extend_from_slice(&other[from.min(other.len())..]);
                }
            }
            7 => input.truncate(at),
            _ if at < end => input[at..end].fill(0xff),
            _ => {}
        }
    }
    input.truncate(INPUT_MAX);
}
