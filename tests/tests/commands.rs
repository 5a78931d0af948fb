//! Scripts that call rsync in ways that no row of the matrix can: each is played with either program,
//! and with either program at the far end where it has one. Both say the same, end with the same
//! codes and leave the same trees. The scripts are in `commands.txt`.

// A script that cannot be played is a failure.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use livemirror_tests::peer::{self, Programs, Side};
use livemirror_tests::{lines, tree_text};

const LIMIT: Duration = Duration::from_secs(60);

const SCRIPTS: &str = include_str!("../commands.txt");

/// A remote shell that stays on this machine: its first word is the host.
const SHELL: &str = "#!/bin/sh\nshift\nexec /bin/sh -c \"$*\"\n";

/// Beginnings of lines that are not compared: what we say besides, and how one process of the
/// reference stops another.
const UNTOLD: [&str; 2] = ["livemirror: ", "rsync error: received SIGUSR1 "];

/// What one script came to.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Outcome {
    stdout: Vec<String>,
    stderr: Vec<String>,
    tree: Vec<String>,
}

impl Outcome {
    fn difference(&self, ours: &Outcome) -> Vec<String> {
        let pairs = [
            ("stdout", &self.stdout, &ours.stdout),
            ("stderr", &self.stderr, &ours.stderr),
            ("tree", &self.tree, &ours.tree),
        ];
        let differs = |(what, theirs, ours): (&str, &Vec<String>, &Vec<String>)| {
            let lines = lines::difference(theirs, ours);
            lines.into_iter().map(move |line| format!("  {what} {line}")).collect::<Vec<_>>()
        };
        pairs.into_iter().flat_map(differs).collect()
    }
}

struct Place(PathBuf);

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A directory with a program named `rsync` in it.
fn program_in(dir: &Path, programs: &Programs, side: Side) {
    fs::create_dir_all(dir).unwrap();
    let program = programs.words(side).swap_remove(0);
    symlink(program, dir.join("rsync")).unwrap();
}

/// Plays a script with `client` on its path, and `far` at the other end of `$SSH`.
fn play(programs: &Programs, client: Side, far: Side, name: &str, script: &str) -> Outcome {
    let base = format!(
        "livemirror-commands-{}-{}-{}-{name}",
        std::process::id(),
        client.word(),
        far.word()
    );
    let place = Place(std::env::temp_dir().join(base));
    program_in(&place.0.join("near"), programs, client);
    program_in(&place.0.join("far"), programs, far);
    let shell = place.0.join("ssh");
    fs::write(&shell, SHELL).unwrap();
    fs::set_permissions(&shell, fs::Permissions::from_mode(0o755)).unwrap();
    let work = place.0.join("w");
    fs::create_dir(&work).unwrap();
    let mut command = Command::new("bash");
    // Every command's exit code is told, so that no code of a script with several is lost. What the
    // source was changed at must not depend on how fast the script before was.
    let told = "rsync() { [ ! -d s ] || touch -d 2003-03-03 s; command rsync \"$@\"; local rc=$?; echo \"exit $rc\"; return $rc; }\numask 022\n";
    command.args(["-c", &format!("{told}{script}")]).current_dir(&work);
    let path = std::env::var("PATH").unwrap();
    command.env("PATH", format!("{}:{path}", place.0.join("near").display()));
    command.env("SSH", &shell).env("FAR", place.0.join("far/rsync"));
    command.env("LC_ALL", "C").env("TZ", "UTC").env("HOME", &work);
    let run = peer::run(command, Vec::new(), LIMIT);
    assert!(run.code.is_some(), "{name} with {} hangs", client.word());
    let places = [(place.0.to_str().unwrap().to_owned(), "DIR")];
    let said = |text: &[u8]| -> Vec<String> {
        let lines = lines::normalise(text, &places);
        lines
            .into_iter()
            .filter(|line| !UNTOLD.iter().any(|start| line.starts_with(start)))
            .collect()
    };
    // Two processes say what goes wrong, as they are scheduled.
    let mut stderr = said(&run.stderr);
    stderr.sort();
    let tree = tree_text::dump(&work, Some(1_000_000_000));
    Outcome { stdout: said(&run.stdout), stderr, tree }
}

/// The scripts: a name in brackets, then the lines up to the next.
fn scripts() -> Vec<(String, String)> {
    let mut out: Vec<(String, String)> = Vec::new();
    for line in SCRIPTS.lines().filter(|line| !line.is_empty() && !line.starts_with("//")) {
        match line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            Some(name) => out.push((name.to_owned(), String::new())),
            None => out.last_mut().expect("a name first").1.push_str(&format!("{line}\n")),
        }
    }
    out
}

/// How often a script is played whose outcome the reference itself is of two minds about: when a
/// shell ends before it is waited for, say.
const ATTEMPTS: usize = 4;

/// What differs from the reference; empty as well where nothing does that is the same twice.
fn compare(
    theirs: &Outcome,
    (client, far): (Side, Side),
    play: &dyn Fn(Side, Side) -> Outcome,
) -> Vec<String> {
    let mut theirs = vec![theirs.clone()];
    loop {
        let ours = play(client, far);
        if theirs.contains(&ours) {
            return Vec::new();
        }
        let again = play(Side::Theirs, Side::Theirs);
        let known = theirs.contains(&again);
        if known || theirs.len() >= ATTEMPTS {
            return theirs[0].difference(&ours);
        }
        theirs.push(again);
    }
}

#[test]
fn scripts_cannot_tell_the_programs_apart() {
    // A failure would break a script that people have.
    let Some(programs) = Programs::find() else { return };
    let mut failures = Vec::new();
    let mut names = BTreeSet::new();
    for (name, script) in scripts() {
        assert!(names.insert(name.clone()), "{name} twice");
        let theirs = play(programs, Side::Theirs, Side::Theirs, &name, &script);
        let mut pairs = vec![(Side::Ours, Side::Ours)];
        if script.contains("$FAR") {
            pairs.extend([(Side::Ours, Side::Theirs), (Side::Theirs, Side::Ours)]);
        }
        for (client, far) in pairs {
            let difference = compare(&theirs, (client, far), &|client, far| {
                play(programs, client, far, &name, &script)
            });
            if !difference.is_empty() {
                let (client, far) = (client.word(), far.word());
                failures.push(format!("[{name}] {client}-{far}\n{}", difference.join("\n")));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(names.len() > 10);
}
