//! Batch files beside the reference: each program reads what either wrote, over every connection;
//! the script is the reference's, byte for byte; a damaged file costs a code and nothing else.

// A rule that cannot be checked is a failure.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use livemirror_tests::lines;
use livemirror_tests::peer::{self, Programs, Server, Side};
use livemirror_tests::tree_text;

const LIMIT: Duration = Duration::from_secs(20);
const SIDES: [Side; 2] = [Side::Ours, Side::Theirs];

const CONFIG: &str = "use chroot = no
uid = 0
gid = 0
read only = no
[all]
path = PLACE
";

/// A source and a destination that it changes.
const MAKE: &str = "mkdir -p src/d src/e base
echo hello >src/a; seq 1 20000 >src/d/b; echo x >'src/e/c d'; ln -s a src/link; ln src/a src/hard
setfattr -n user.long -v $(printf 'v%.0s' $(seq 100)) src/a 2>/dev/null
touch -d 2020-01-01 src/a src/d/b 'src/e/c d' src/d src/e src
cp -a src/. base/; rm 'base/e/c d'; echo old >base/extra; seq 3 18000 >base/d/b
touch -d 2019-01-01 base/d/b
";

struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Place {
        let name = format!("livemirror-batch-{}-{name}", std::process::id());
        let place = Place(std::env::temp_dir().join(name));
        fs::create_dir_all(&place.0).unwrap();
        place.shell(MAKE);
        place
    }

    fn shell(&self, script: &str) {
        let made = Command::new("sh").args(["-c", script]).current_dir(&self.0).status().unwrap();
        assert!(made.success() || script == MAKE, "{script}");
    }

    /// Runs one of the programs; its code and what it said.
    fn run(&self, programs: &Programs, side: Side, args: &[&str]) -> (Option<i32>, Vec<String>) {
        let words = programs.words(side);
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).args(args).current_dir(&self.0).env("LC_ALL", "C");
        let run = peer::run(command, Vec::new(), LIMIT);
        let mut said = lines::normalise(&run.stdout, &[]);
        said.extend(lines::normalise(&run.stderr, &[]));
        said.retain(|line| !line.starts_with("opening connection"));
        (run.code, said)
    }

    /// Fresh destinations `one` and `two`.
    fn renew(&self) {
        self.shell("rm -rf one two b b.sh; cp -a base one; cp -a base two");
    }

    fn tree(&self, name: &str) -> Vec<String> {
        // What was made here rather than dated by hand has the time of the run.
        tree_text::dump(&self.0.join(name), Some(1_600_000_000))
    }

    fn server(&self, programs: &Programs, side: Side) -> Server {
        let config = self.0.join(format!("conf-{}", side.word()));
        fs::write(&config, CONFIG.replace("PLACE", self.0.to_str().unwrap())).unwrap();
        Server::start(&programs.words(side), &config, &self.0.join("log")).unwrap()
    }

    /// Stands in for a remote shell that starts `side`.
    fn shell_of(&self, programs: &Programs, side: Side) -> String {
        let file = self.0.join(format!("rsh-{}", side.word()));
        let text = format!("#!/bin/sh\nshift 2\nexec {} \"$@\"\n", programs.words(side).join(" "));
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        format!("--rsh={}", file.display())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Lines in an order that two processes do not change.
fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort();
    lines
}

/// A script without its first words, which name the program.
fn script(place: &Path) -> String {
    let text = fs::read_to_string(place.join("b.sh")).unwrap();
    let words = text.split_once(" '-a").unwrap().1;
    let rules = text.contains("--filter='._-'");
    format!("{rules}{words}")
}

const OPTIONS: &[&[&str]] = &[
    &["-av"],
    &["-avz", "--delete", "--exclude=*.o", "--filter=P x y"],
    &["-aHXA", "-i", "--no-i-r"],
    &["-acv", "--inplace"],
    &["-av", "--append", "-I"],
    &["-avR", "--protocol=30", "-z"],
    &["-av", "--protocol=31", "--no-i-r"],
];

#[test]
fn each_reads_what_either_wrote() {
    let Some(programs) = Programs::find() else { return };
    let place = Place::new("pairs");
    for options in OPTIONS {
        for write in ["--write-batch=b", "--only-write-batch=b"] {
            let mut seen: Option<(String, Vec<_>, Vec<_>, Vec<_>, String)> = None;
            for (writer, reader) in
                [Side::Theirs, Side::Ours].into_iter().flat_map(|w| SIDES.map(|r| (w, r)))
            {
                place.renew();
                let mut words = options.to_vec();
                words.extend([write, "src/", "one/"]);
                let wrote = place.run(programs, writer, &words);
                assert_eq!(wrote.0, Some(0), "{options:?} {write} {wrote:?}");
                let mut words = options.to_vec();
                words.extend(["--read-batch=b", "two/"]);
                let read = place.run(programs, reader, &words);
                assert_eq!(read.0, Some(0), "{options:?} {write} by {}: {read:?}", reader.word());
                let script = script(&place.0);
                let now =
                    (script, sorted(wrote.1), sorted(read.1), place.tree("two"), dump_one(&place));
                match &seen {
                    None => seen = Some(now),
                    Some(before) => assert_eq!(
                        before,
                        &now,
                        "{options:?} {write} {} {}",
                        writer.word(),
                        reader.word()
                    ),
                }
            }
        }
    }
}

fn dump_one(place: &Place) -> String {
    place.tree("one").join("\n")
}

#[test]
fn each_writes_over_every_connection() {
    let Some(programs) = Programs::find() else { return };
    let place = Place::new("connections");
    for server in SIDES {
        let daemon = place.server(programs, server);
        let shell = place.shell_of(programs, server);
        let here = place.0.to_str().unwrap().to_owned();
        let url = format!("rsync://127.0.0.1:{}/all", daemon.port);
        for (from, to) in [
            (format!("h:{here}/src/"), "one/".to_owned()),
            ("src/".to_owned(), format!("h:{here}/one/")),
            (format!("{url}/src/"), "one/".to_owned()),
            ("src/".to_owned(), format!("{url}/one/")),
        ] {
            for write in ["--write-batch=b", "--only-write-batch=b"] {
                let mut seen: Option<(String, Vec<String>, Vec<String>)> = None;
                for writer in [Side::Theirs, Side::Ours] {
                    place.renew();
                    // Compressed blocks that nobody writes are more than the reference can skip.
                    let only = write == "--only-write-batch=b";
                    let letters = if only { "-avX" } else { "-avXz" };
                    let words = [letters, "--delete", &shell, write, &from, &to];
                    // A shell given by option would be the way to a daemon too.
                    let words: Vec<&str> = words
                        .into_iter()
                        .filter(|word| {
                            !(from.contains("://") || to.contains("://")) || *word != shell
                        })
                        .collect();
                    let wrote = place.run(programs, writer, &words);
                    assert_eq!(wrote.0, Some(0), "{words:?} {wrote:?}");
                    let changed = place.tree("one") != place.tree("base");
                    assert_eq!(changed, write == "--write-batch=b", "{words:?}");
                    let read = place.run(
                        programs,
                        Side::Ours,
                        &["-aX", "--delete", "--read-batch=b", "two/"],
                    );
                    assert_eq!(read.0, Some(0), "{words:?} {read:?}");
                    let now = (script(&place.0), sorted(wrote.1), place.tree("two"));
                    match &seen {
                        None => seen = Some(now),
                        Some(before) => assert_eq!(before, &now, "{words:?}"),
                    }
                }
            }
        }
    }
}

/// Command lines that both programs answer with the same code, lines and tree `two`; `B` is a batch
/// of `-av`, `N` one of `-a --no-i-r`.
const ANSWERS: &[&[&str]] = &[
    &["-av", "--read-batch=nope", "two/"],
    &["-av", "--read-batch=src", "two/"],
    &["-av", "--read-batch=/dev/null", "two/"],
    &["-av", "--read-batch=empty", "two/"],
    &["-av", "--read-batch=", "two/"],
    &["-av", "--read-batch=newer", "two/"],
    &["-av", "--read-batch=odd", "two/"],
    &["-av", "--read-batch=B", "--protocol=31", "two/"],
    &["-a", "--read-batch=B", "--write-batch=x", "two/"],
    &["-a", "--read-batch=B", "--files-from=src/a", "two/"],
    &["-a", "--read-batch=B", "--remove-source-files", "two/"],
    &["-a", "--read-batch=B", "h:two/"],
    &["-a", "--write-batch=/nope/x", "src/", "two/"],
    &["-a", "--write-batch=src", "src/", "two/"],
    &["-a", "--write-batch=x", "--exclude=a\nb", "src/", "other/"],
    &["-an", "--write-batch=unwritten", "src/", "two/"],
    &["-rltv", "--read-batch=B", "two/"],
    &["-v", "--read-batch=B", "two/"],
    &["-v", "--read-batch=N", "two/"],
    &["-avXAzHc", "--read-batch=N", "two/"],
    &["-av", "--inplace", "--read-batch=N", "two/"],
    &["-nav", "--read-batch=B", "two/"],
    &["-av", "--stats", "--read-batch=B", "src2/"],
    &["-avi", "--existing", "--read-batch=B", "two/"],
    &["-av", "--delete-after", "--read-batch=B", "two/"],
    &["-av", "--no-i-r", "--read-batch=partial", "two/"],
    &["-a", "-M--write-batch=x", "src/", "two/"],
];

#[test]
fn odd_command_lines_are_answered_as_the_reference_answers() {
    let Some(programs) = Programs::find() else { return };
    let place = Place::new("answers");
    for (name, options) in [("B", "-av"), ("N", "-a --no-i-r"), ("partial", "-a --no-i-r")] {
        place.renew();
        // The last has not what the other destination lacks.
        let before = if name == "partial" { "cp -p 'src/e/c d' one/e/" } else { "true" };
        let theirs = &programs.words(Side::Theirs)[0];
        place.shell(&format!("{before}; {theirs} {options} --write-batch={name} src/ one/"));
    }
    place.shell(": >empty; printf '\\0\\0\\0\\0\\41\\0\\0\\0\\0\\0' >newer; printf '\\0\\0\\0\\0\\1\\0\\0\\0\\0\\0' >odd");
    for words in ANSWERS {
        let mut seen = None;
        for side in [Side::Theirs, Side::Ours] {
            place.renew();
            place.shell("rm -rf src2 other; cp -a src src2");
            let (code, said) = place.run(programs, side, words);
            // Of a half that loses its other the reference tells one way, ours another.
            let said = sorted(said).into_iter().filter(|line| !line.contains("SIGUSR1"));
            let now = (code, said.collect::<Vec<_>>(), place.tree("two"));
            assert!(!place.0.join("unwritten").exists());
            match &seen {
                None => seen = Some(now),
                Some(before) => assert_eq!(before, &now, "{words:?}"),
            }
        }
    }
}

#[test]
fn a_batch_comes_through_standard_input() {
    let Some(programs) = Programs::find() else { return };
    let place = Place::new("stdin");
    place.renew();
    place.run(programs, Side::Theirs, &["-a", "--write-batch=b", "src/", "one/"]);
    let words = programs.words(Side::Ours);
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).args(["-a", "--read-batch=-", "two/"]).current_dir(&place.0);
    let run = peer::run(command, fs::read(place.0.join("b")).unwrap(), LIMIT);
    assert_eq!(run.code, Some(0));
    assert_eq!(place.tree("one"), place.tree("two"));
}

#[test]
fn a_damaged_batch_ends_with_a_code_and_stays_inside() {
    let Some(programs) = Programs::find() else { return };
    let place = Place::new("damaged");
    place.renew();
    place.run(programs, Side::Ours, &["-aH", "--write-batch=b", "src/", "one/"]);
    let whole = fs::read(place.0.join("b")).unwrap();
    let outside = place.tree("src");
    let step = (whole.len() / 40).max(1);
    for at in (0..whole.len()).step_by(step).chain(0..40).chain(whole.len() - 30..whole.len()) {
        fs::write(place.0.join("cut"), &whole[..at]).unwrap();
        let (code, said) = place.run(programs, Side::Ours, &["-aH", "--read-batch=cut", "two/"]);
        assert!(matches!(code, Some(1..=24)), "cut at {at}: {code:?} {said:?}");
        for flip in [0x01, 0x80, 0xff] {
            let mut changed = whole.clone();
            changed[at] ^= flip;
            fs::write(place.0.join("changed"), &changed).unwrap();
            let (code, said) =
                place.run(programs, Side::Ours, &["-aH", "--read-batch=changed", "two/"]);
            let panicked = said.iter().any(|line| line.contains("panicked"));
            assert!(code.is_some() && !panicked, "{at} ^ {flip}: {code:?} {said:?}");
        }
    }
    // A name that leads out.
    let mut outward = whole.clone();
    let found = memchr_of(&outward, b"link").unwrap();
    outward[found..found + 4].copy_from_slice(b"../l");
    fs::write(place.0.join("outward"), &outward).unwrap();
    let (code, _) = place.run(programs, Side::Ours, &["-aH", "--read-batch=outward", "two/"]);
    assert!(code.is_some_and(|code| code != 0));
    assert_eq!(place.tree("src"), outside);
    assert!(!place.0.join("l").exists());
}

fn memchr_of(text: &[u8], word: &[u8]) -> Option<usize> {
    text.windows(word.len()).position(|at| at == word)
}
