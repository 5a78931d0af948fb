//! Files with edits of every kind, updated with the reference at the other end and alone: what
//! arrives is what was sent, with every block size, sum and codec.
//!
//! Rounds go on for `LIVEMIRROR_DELTAS` seconds, or a few; `LIVEMIRROR_DELTAS_SEED` repeats those
//! of a run that failed.

// A case that cannot be set up is a failure.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use livemirror_tests::peer::Side::{self, Ours, Theirs};
use livemirror_tests::peer::{Programs, run};

/// Seconds for all rounds, where nothing else is said.
const SECONDS: u64 = 15;
/// Time for one command.
const LIMIT: Duration = Duration::from_secs(60);
/// Files of a round.
const FILES: u64 = 10;
/// Bytes of a file before its edits, at most.
const SIZE_MAX: u64 = 2_500_000;
/// Blocks of a file, at most: those of one byte are many.
const BLOCKS_MAX: u64 = 20_000;
/// The largest block that can be asked for.
const BLOCK_MAX: u64 = 131_072;

/// Blocks that are so short that their sums are, too.
const SHORT_BLOCK: u64 = 256;
/// The end of the line about a file that is sent once more.
const AGAIN: &str = "(will try again).";

/// Stands in for a remote shell: drops the host and runs the rest.
const SHELL: &str = "#!/bin/sh\nshift\nexec /bin/sh -c \"$*\"\n";

const SUMS: [&str; 7] = ["auto", "md5", "md4", "sha1", "xxh64", "xxh3", "xxh128"];
const CODECS: [&str; 5] = ["none", "zlib", "zlibx", "zstd", "lz4"];
const BLOCKS: [u64; 9] = [0, 1, 2, 7, 256, 700, 1024, 65_536, BLOCK_MAX];
/// Who is the client, who the server, and whether the client sends; none for a local copy.
const FORMS: [Option<(Side, Side, bool)>; 7] = [
    None,
    Some((Ours, Theirs, true)),
    Some((Ours, Theirs, false)),
    Some((Theirs, Ours, true)),
    Some((Theirs, Ours, false)),
    Some((Ours, Ours, true)),
    Some((Ours, Ours, false)),
];

/// Numbers that look random and follow from a seed (xorshift).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11
    }

    /// Below `end`, which is not 0.
    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize]
    }

    /// As often small as large.
    fn size(&mut self, max: u64) -> u64 {
        let bits = self.below(u64::from(max.ilog2()) + 2) as u32;
        self.below(1 << bits).min(max)
    }

    /// Bytes without order, or of few values, or one over and over.
    fn bytes(&mut self, len: u64) -> Vec<u8> {
        let (kind, value) = (self.below(4), self.next() as u8);
        let byte = |numbers: &mut Numbers| match kind {
            0 => value,
            1 => b'a' + numbers.below(3) as u8,
            _ => numbers.next() as u8,
        };
        (0..len).map(|_| byte(self)).collect()
    }

    /// A part of `bytes`, as a range.
    fn part(&mut self, bytes: &[u8]) -> std::ops::Range<usize> {
        let start = self.below(bytes.len() as u64 + 1);
        let len = self.size((bytes.len() as u64 - start).max(1)).min(bytes.len() as u64 - start);
        start as usize..(start + len) as usize
    }

    /// One edit.
    fn edit(&mut self, bytes: &mut Vec<u8>) {
        let part = self.part(bytes);
        match self.below(6) {
            0 => {
                let new_len = self.size(100_000);
                let new = self.bytes(new_len);
                bytes.splice(part.start..part.start, new);
            }
            1 => drop(bytes.drain(part)),
            kind @ (2 | 3) => {
                // Moved or doubled.
                let copy = bytes[part.clone()].to_vec();
                if kind == 2 {
                    bytes.drain(part);
                }
                let to = self.below(bytes.len() as u64 + 1) as usize;
                bytes.splice(to..to, copy);
            }
            4 => bytes[part].reverse(),
            _ => bytes.iter_mut().skip(part.start).take(1).for_each(|byte| *byte ^= 1),
        }
    }
}

struct Place(PathBuf);

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Makes both sides anew: what is sent, and older states of it.
fn make(place: &Path, numbers: &mut Numbers, block: u64) {
    for side in ["src", "dst"] {
        let _ = fs::remove_dir_all(place.join(side));
        fs::create_dir(place.join(side)).unwrap();
    }
    let max = if block == 0 { SIZE_MAX } else { SIZE_MAX.min(block * BLOCKS_MAX) };
    for at in 0..FILES {
        let len = numbers.size(max);
        let old = numbers.bytes(len);
        let mut new = old.clone();
        for _ in 0..numbers.below(6) {
            numbers.edit(&mut new);
        }
        new.truncate(2 * SIZE_MAX as usize);
        fs::write(place.join(format!("dst/{at}")), old).unwrap();
        fs::write(place.join(format!("src/{at}")), new).unwrap();
    }
}

/// The command of a round.
fn command(place: &Path, programs: &Programs, numbers: &mut Numbers, block: u64) -> Command {
    let form = numbers.one_of(&FORMS);
    let words = programs.words(form.map_or(Ours, |(client, _, _)| client));
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).args(["-rtI", "--stats", "--no-whole-file"]).current_dir(place);
    if block > 0 {
        command.arg(format!("--block-size={block}"));
    }
    match numbers.below(4) {
        // Sums and codecs are what such a protocol has.
        0 => drop(command.arg(format!("--protocol={}", 27 + numbers.below(6)))),
        _ => {
            command.arg(format!("--checksum-choice={}", numbers.one_of(&SUMS)));
            command.arg(format!("--compress-choice={}", numbers.one_of(&CODECS)));
        }
    }
    for option in ["--inplace", "--checksum", "--sparse", "--compress-level=9", "--fsync"] {
        if numbers.below(5) == 0 {
            command.arg(option);
        }
    }
    let (mut source, mut dest) = ("src/", "dst/");
    if let Some((_, server, pushes)) = form {
        command.arg("-e").arg(place.join("shell"));
        command.arg(format!("--rsync-path={}", programs.words(server).join(" ")));
        match pushes {
            true => dest = "host:dst/",
            false => source = "host:src/",
        }
    }
    command.args([source, dest]);
    command
}

/// Bytes that a summary says were found at the other side.
fn matched(stdout: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(stdout).into_owned();
    let line = text.lines().find(|line| line.starts_with("Matched data: ")).unwrap_or_default();
    let digits: String = line.chars().filter(char::is_ascii_digit).collect();
    digits.parse().unwrap_or_default()
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

#[test]
fn what_arrives_is_what_was_sent() {
    // A failure would show a file whose content came out wrong, or one that was asked for twice.
    let Some(programs) = Programs::find() else { return };
    let place =
        Place(std::env::temp_dir().join(format!("livemirror-deltas-{}", std::process::id())));
    fs::create_dir_all(&place.0).unwrap();
    fs::write(place.0.join("shell"), SHELL).unwrap();
    fs::set_permissions(place.0.join("shell"), PermissionsExt::from_mode(0o755)).unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let seed = number("LIVEMIRROR_DELTAS_SEED").unwrap_or(now);
    let mut numbers = Numbers(seed | 1);
    let limit = Duration::from_secs(number("LIVEMIRROR_DELTAS").unwrap_or(SECONDS));
    let begun = Instant::now();
    let (mut rounds, mut found, mut twice) = (0, 0, 0);
    while rounds == 0 || begun.elapsed() < limit {
        let block = match numbers.below(3) {
            0 => 1 + numbers.size(BLOCK_MAX - 1),
            _ => numbers.one_of(&BLOCKS),
        };
        make(&place.0, &mut numbers, block);
        let command = command(&place.0, programs, &mut numbers, block);
        let told = format!("LIVEMIRROR_DELTAS_SEED={seed}, round {rounds}: {command:?}");
        let result = run(command, Vec::new(), LIMIT);
        let stderr = String::from_utf8_lossy(&result.stderr).into_owned();
        // Short sums of many short blocks collide now and then: then all is sent once more.
        let (again, other): (Vec<&str>, Vec<&str>) =
            stderr.lines().partition(|l| l.starts_with("WARNING: ") && l.ends_with(AGAIN));
        assert_eq!((result.code, other), (Some(0), Vec::new()), "{told}");
        assert!(again.is_empty() || (1..=SHORT_BLOCK).contains(&block), "{again:?}; {told}");
        twice += again.len();
        for at in 0..FILES {
            let side = |side: &str| fs::read(place.0.join(format!("{side}/{at}"))).unwrap();
            assert!(side("src") == side("dst"), "file {at} came out wrong; {told}");
        }
        found += matched(&result.stdout);
        rounds += 1;
    }
    println!("{rounds} rounds, {found} bytes found, {twice} files sent twice, seed {seed}");
    assert!(twice <= 2 + rounds / 20, "{twice} files of {rounds} rounds sent twice; seed {seed}");
    assert!(found > 0, "no block was ever found; seed {seed}");
}
