//! Command lines held against the installed rsync: the words it sends to a server, and what it says
//! about command lines it does not take.
//!
//! The remote shell of the oracle is a script that writes down its arguments and ends. Without an
//! rsync the tests fail, unless `LIVEMIRROR_NO_ORACLE=1` says that none is to be expected.

// A test that cannot go on says so by panicking, in its helpers too.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};

use rsync::location::{self, Location, Plan, PlanKind};
use rsync::options::parse::{self, Action, Parsing, UsageError};
use rsync::options::{Options, check, server_args};

/// A directory with the recording shell, unique to one test.
struct Oracle {
    dir: PathBuf,
}

impl Oracle {
    /// `None` when the environment says that there is no rsync.
    fn start(name: &str) -> Option<Oracle> {
        if std::env::var_os("LIVEMIRROR_NO_ORACLE").is_some_and(|v| v == "1") {
            return None;
        }
        let version = Command::new("rsync").arg("--version").output();
        let text = version.map(|v| String::from_utf8_lossy(&v.stdout).into_owned());
        let found = text.as_deref().is_ok_and(|t| t.starts_with("rsync  version 3."));
        assert!(
            found,
            "no rsync 3 to compare with ({text:?}); install it or set LIVEMIRROR_NO_ORACLE=1"
        );
        let dir = std::env::temp_dir().join(format!("livemirror-{name}-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("s")).unwrap();
        std::fs::write(dir.join("list"), "a\n").unwrap();
        let script = "#!/bin/sh\n: > argv\nfor a in \"$@\"; do printf '%s\\0' \"$a\" >> argv; done\nexit 1\n";
        std::fs::write(dir.join("shell"), script).unwrap();
        std::fs::set_permissions(dir.join("shell"), PermissionsExt::from_mode(0o755)).unwrap();
        Some(Oracle { dir })
    }

    fn run(&self, words: &[Vec<u8>], env: &[(&str, &str)]) -> Output {
        let _ = std::fs::remove_file(self.dir.join("argv"));
        let mut command = Command::new("rsync");
        command.args(words.iter().map(|w| OsStr::from_bytes(w))).current_dir(&self.dir);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("LC_ALL", "C.UTF-8").envs(env.iter().copied());
        command.stdin(std::process::Stdio::null()).output().unwrap()
    }

    /// What the recording shell was given.
    fn argv(&self, words: &[Vec<u8>], env: &[(&str, &str)]) -> Option<Vec<Vec<u8>>> {
        let output = self.run(words, env);
        let argv = std::fs::read(self.dir.join("argv")).unwrap_or_else(|_| {
            panic!("no shell was run: {words:?}: {}", String::from_utf8_lossy(&output.stderr))
        });
        let argv = argv.strip_suffix(b"\0")?;
        Some(argv.split(|&b| b == 0).map(<[u8]>::to_vec).collect())
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// Splits at blanks; `'` quotes.
fn words(line: &str) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    let mut word: Option<Vec<u8>> = None;
    let mut quoted = false;
    for byte in line.bytes() {
        match byte {
            b'\'' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            b' ' if !quoted => all.extend(word.take()),
            _ => word.get_or_insert_default().push(byte),
        }
    }
    all.extend(word);
    all
}

type Understood = Result<(Options, Plan), UsageError>;

fn understand(words: &[Vec<u8>], env: &[(&str, &str)]) -> Understood {
    let value = |name: &str| {
        env.iter().find(|(n, _)| *n == name).map(|(_, value)| value.as_bytes().to_vec())
    };
    let parsed = parse::parse(words, &value, Parsing::Client)?;
    assert_eq!(parsed.action, Action::Run, "{words:?}");
    let mut options = parsed.options;
    let plan = location::plan(&parsed.words, &options)?;
    check::with_locations(&mut options, &plan)?;
    Ok((options, plan))
}

/// The command line this program would give a remote shell, as far as the reference's is compared.
fn our_argv(words: &[Vec<u8>], env: &[(&str, &str)]) -> Vec<Vec<u8>> {
    let (options, plan) = understand(words, env).unwrap_or_else(|error| {
        panic!("{words:?} refused: {}", String::from_utf8_lossy(&error.rendered()))
    });
    let sending = plan.kind == PlanKind::Push;
    let paths: Vec<&Location> =
        if sending { plan.dest.iter().collect() } else { plan.sources.iter().collect() };
    let Some(Location::Shell { user, host, .. }) = plan.remote() else {
        panic!("{words:?} is not for a remote shell");
    };
    let args = server_args::server_args(&options, sending);
    let mut argv = server_args::escape_words(&args, &options);
    argv.push(b".".to_vec());
    argv.extend(server_args::shell_paths(&paths, &options, sending));
    let (argv, _) = server_args::seclude(&options, &args, argv, &paths, None);
    let user = user.as_ref().map(|user| vec![b"-l".to_vec(), user.clone()]);
    let path = options.rsync_path.clone().unwrap_or_else(|| b"rsync".to_vec());
    [user.unwrap_or_default(), vec![host.clone(), path], argv].concat()
}

fn shown(argv: &[Vec<u8>]) -> String {
    let words = argv.iter().map(|w| format!("[{}]", String::from_utf8_lossy(w)));
    words.collect::<Vec<_>>().join(" ")
}

/// What the reference sends is accepted, and means what was typed.
fn server_understands(given: &[Vec<u8>], argv: &[Vec<u8>], env: &[(&str, &str)]) {
    let start = argv.iter().position(|word| word == b"--server").unwrap();
    // The shell would take the escapes away; none of the values checked here has one.
    let parsed = parse::parse(&argv[start..], &|_| None, Parsing::Server);
    let server = parsed
        .unwrap_or_else(|error| {
            panic!("{} refused: {}", shown(argv), String::from_utf8_lossy(&error.text))
        })
        .options;
    let (client, plan) = understand(given, env).unwrap();
    assert!(server.server);
    assert_eq!(server.sender, plan.kind == PlanKind::Pull);
    let flags = |o: &Options| {
        let kept = [o.links, o.perms, o.times, o.atimes, o.owner, o.group, o.devices, o.hard_links];
        let mode = [o.recurse, o.dry_run, o.checksum, o.update, o.relative, o.ignore_times];
        (kept, mode, o.one_file_system, o.verbose.min(9), o.cvs_exclude, o.backup)
    };
    assert_eq!(flags(&server), flags(&client), "{}", shown(argv));
    if server.secluded_args {
        return;
    }
    let values = |o: &Options| {
        let talk = (o.compress, o.compress_choice, o.compress_level, o.checksum_choice);
        let numbers = (o.timeout_s, o.bwlimit, o.block_size, o.checksum_seed);
        (talk, numbers, o.specials, o.stderr, o.list_only && o.given.list_only, o.inplace)
    };
    assert_eq!(values(&server), values(&client), "{}", shown(argv));
    if plan.kind == PlanKind::Push {
        let more = |o: &Options| {
            let sizes = (o.max_size, o.min_size, o.modify_window, o.size_only);
            (sizes, o.delete, o.existing, o.ignore_existing, o.force, o.omit_dir_times)
        };
        assert_eq!(more(&server), more(&client), "{}", shown(argv));
    }
}

fn compare(oracle: &Oracle, line: &str, env: &[(&str, &str)]) -> Option<String> {
    let given = [words("-e ./shell"), words(line)].concat();
    let theirs = oracle.argv(&given, env).unwrap_or_default();
    let ours = our_argv(&given, env);
    if !line.contains("-M") && !line.contains("--remote-option") {
        server_understands(&given, &theirs, env);
    }
    (theirs != ours)
        .then(|| format!("{line} {env:?}\n  rsync {}\n  ours  {}\n", shown(&theirs), shown(&ours)))
}

/// Options that are tried in both directions.
const OPTIONS: &str = include_str!("oracle_lines/options.txt");

/// Whole command lines about operands.
const OPERANDS: &str = include_str!("oracle_lines/operands.txt");

#[test]
fn servers_are_told_the_same_words() {
    let Some(oracle) = Oracle::start("words") else { return };
    let mut differences = Vec::new();
    let mut compared = 0;
    for line in OPTIONS.lines().filter(|line| !line.is_empty()) {
        for operands in ["s/ h:d", "h:s/ d"] {
            let full = format!("{line} {operands}");
            differences.extend(compare(&oracle, &full, &[]));
            compared += 1;
        }
    }
    for line in OPERANDS.lines().filter(|line| !line.is_empty()) {
        differences.extend(compare(&oracle, line, &[]));
        compared += 1;
    }
    assert!(compared > 300, "only {compared} command lines");
    assert!(
        differences.is_empty(),
        "{} of {compared}:\n{}",
        differences.len(),
        differences.concat()
    );
}

#[test]
fn the_environment_gives_the_same_defaults() {
    let Some(oracle) = Oracle::start("env") else { return };
    let lines: [(&str, &[(&str, &str)]); 12] = [
        ("--partial s h:d", &[("RSYNC_PARTIAL_DIR", "pp")]),
        ("--partial --inplace s h:d", &[("RSYNC_PARTIAL_DIR", "pp")]),
        ("--partial-dir= s h:d", &[("RSYNC_PARTIAL_DIR", "pp")]),
        ("s h:d", &[("RSYNC_PARTIAL_DIR", "pp")]),
        ("-T 'a b' s 'h:a b'", &[("RSYNC_OLD_ARGS", "1")]),
        ("-T 'a b' s 'h:a b'", &[("RSYNC_OLD_ARGS", "2")]),
        ("s 'h:a b'", &[("RSYNC_OLD_ARGS", "x")]),
        ("s 'h:a b'", &[("RSYNC_PROTECT_ARGS", "1")]),
        ("s 'h:a b'", &[("RSYNC_PROTECT_ARGS", "1"), ("RSYNC_OLD_ARGS", "1")]),
        ("--no-old-args s 'h:a b'", &[("RSYNC_PROTECT_ARGS", "1")]),
        ("--old-args s 'h:a b'", &[("RSYNC_PROTECT_ARGS", "1")]),
        ("-s s 'h:a b'", &[("RSYNC_OLD_ARGS", "1")]),
    ];
    let differences: Vec<String> =
        lines.iter().filter_map(|(line, env)| compare(&oracle, line, env)).collect();
    assert!(differences.is_empty(), "{}", differences.concat());
}

/// Command lines that are refused with text before anything is started.
const REFUSED: &str = include_str!("oracle_lines/refused.txt");

/// The text without the place in the final line, which names files of the reference.
fn comparable(text: &[u8]) -> String {
    let lines = String::from_utf8_lossy(text).into_owned();
    let place = |line: &str| match (line.starts_with("rsync error: "), line.split_once(" at ")) {
        (true, Some((head, tail))) => {
            let role = tail.split_once('[').map_or("", |(_, role)| role);
            let role = role.split('=').next().unwrap_or_default();
            format!("{head} [{role}]\n")
        }
        _ => format!("{line}\n"),
    };
    lines.lines().map(place).collect()
}

#[test]
fn bad_command_lines_get_the_same_answer() {
    let Some(oracle) = Oracle::start("bad") else { return };
    let mut differences = String::new();
    for line in REFUSED.lines().filter(|line| !line.is_empty()) {
        let given = words(line);
        let theirs = oracle.run(&given, &[]);
        let ours = understand(&given, &[]).err();
        let ours = ours.map(|error| (error.exit.code(), comparable(&error.rendered())));
        let theirs = (theirs.status.code().unwrap_or(-1), comparable(&theirs.stderr));
        if ours.as_ref() != Some(&theirs) {
            differences.push_str(&format!("{line}\n  rsync {theirs:?}\n  ours  {ours:?}\n"));
        }
    }
    assert!(differences.is_empty(), "{differences}");
}

#[test]
fn help_alone_is_no_mistake() {
    let Some(oracle) = Oracle::start("h") else { return };
    for line in ["-h", "-hh", "-vh", "-hv", "--human-readable", "--help", "--help --bogus"] {
        let given = words(line);
        assert_eq!(oracle.run(&given, &[]).status.code(), Some(0), "{line}");
        let parsed = parse::parse(&given, &|_| None, Parsing::Client).unwrap();
        assert_eq!(parsed.action, Action::Help, "{line}");
    }
}

#[test]
fn lines_without_operands_show_the_help() {
    let Some(oracle) = Oracle::start("help") else { return };
    for line in ["-ar", "", "--files-from=list a b c", "--sender a b", "-h -h", "--", "--server -r"]
    {
        let given = words(line);
        let theirs = oracle.run(&given, &[]);
        let ours = understand(&given, &[]).unwrap_err();
        assert_eq!(theirs.status.code(), Some(ours.exit.code()), "{line}");
        let last = |text: &[u8]| comparable(text).lines().last().map(str::to_owned);
        assert_eq!(last(&theirs.stderr), last(&ours.rendered()), "{line}");
    }
}

#[test]
fn known_options_that_are_missing_are_refused_by_name() {
    let env = |_: &str| None;
    let lines = [("--debug=hash s d", "--debug=HASH"), ("--debug=all s d", "--debug=ALL")];
    for (line, named) in lines {
        let error = parse::parse(&words(line), &env, Parsing::Client).unwrap_err();
        let expected = format!("livemirror: {named} is not supported yet\n");
        assert_eq!((error.exit.code(), error.text), (4, expected.into_bytes()), "{line}");
    }
    let error =
        parse::parse(&words("--server --debug=io2 . d"), &env, Parsing::Client).unwrap_err();
    let expected = b"livemirror: on remote machine: --debug=IO2 is not supported yet\n";
    assert_eq!((error.exit.code(), error.text.as_slice()), (4, &expected[..]));
}

/// Every name in the reference's help is known here.
#[test]
fn every_option_of_the_reference_has_a_row() {
    let Some(oracle) = Oracle::start("rows") else { return };
    for (line, daemon) in [("--help", false), ("--daemon --help", true)] {
        let help = String::from_utf8(oracle.run(&words(line), &[]).stdout).unwrap();
        let mut names = 0;
        for line in help.lines().filter(|line| line.starts_with('-')) {
            let left = line.split("  ").next().unwrap_or_default();
            for name in left.split([',', ' ', '=']).filter_map(|w| w.strip_prefix("--")) {
                let known = rsync::options::table::by_long_name(name.as_bytes(), daemon);
                assert!(known.is_some() || name == "no-OPTION", "--{name} has no row");
                names += 1;
            }
            let short = left.split([',', ' ']).rfind(|w| w.len() == 2 && w.starts_with('-'));
            if let Some(letter) =
                short.and_then(|s| s.as_bytes().get(1).copied()).filter(|&l| l != b'h' || daemon)
            {
                let known = rsync::options::table::by_letter(letter, daemon);
                assert!(known.is_some(), "-{} has no row", char::from(letter));
            }
        }
        assert!(names > if daemon { 12 } else { 130 }, "{names} names in {line}");
    }
}

/// Modes after `--chmod`, all rules on all modes.
#[test]
fn chmod_makes_the_same_modes() {
    use rsync::chmod::ChmodRules;
    let Some(oracle) = Oracle::start("chmod") else { return };
    let modes = [0o644, 0o755, 0o4755, 0o2711, 0o1644, 0, 0o7777, 0o640, 0o700];
    for mode in modes {
        for (dir, name) in [(false, format!("s/f{mode:04o}")), (true, format!("s/d{mode:04o}"))] {
            let path = oracle.dir.join(name);
            match dir {
                true => std::fs::create_dir(&path).unwrap(),
                false => std::fs::write(&path, "").unwrap(),
            }
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        }
    }
    if std::fs::read_dir(oracle.dir.join("s/d0000")).is_err() {
        // Without privilege the reference cannot read the unreadable ones.
        return;
    }
    let rules = "u=rwx u=s a+s +s g+s o+s u+t o+t a=rx =rx -w +w ug=rwX a=u g=u o-u u+g a=t u=t a= \
                 = D+x,F-x D755 0 640 D04755 -s -t u-s go=s +X a-X g=X u-X +rw g-u a+g =g +u o=g =t \
                 =s o=s a=st a-st g=ts =X g=Xx =u a=o u=g,g=u u=rws a=rwx,+t a=s uo=s uo+s a=o,u+x";
    for text in rules.split_whitespace() {
        let _ = std::fs::remove_dir_all(oracle.dir.join("o"));
        let mut command = Command::new("sh");
        command.args(["-c", "umask 027; exec rsync -rp --chmod=\"$0\" s/ o", text]);
        assert!(command.current_dir(&oracle.dir).output().unwrap().status.success(), "{text}");
        let rules = ChmodRules::parse(text.as_bytes()).unwrap();
        for mode in modes {
            for (dir, letter) in [(false, 'f'), (true, 'd')] {
                let path = oracle.dir.join(format!("o/{letter}{mode:04o}"));
                let theirs = std::fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777;
                let ours = rules.apply(mode, dir, 0o027);
                assert_eq!(ours, theirs, "{text} on {letter}{mode:04o}: {ours:o} {theirs:o}");
            }
        }
    }
}

/// What follows on the stream when the arguments are secluded.
#[test]
fn secluded_words_are_the_same() {
    let Some(oracle) = Oracle::start("secluded") else { return };
    let script = "#!/bin/sh\ntimeout 1 cat > stream; exit 1\n";
    std::fs::write(oracle.dir.join("shell"), script).unwrap();
    for line in ["-s -T 'a b' s 'h:-c d'", "-sa --timeout=5 'h:~x' 'h:y z' 'h:' d"] {
        let given = [words("-e ./shell"), words(line)].concat();
        let _ = oracle.run(&given, &[]);
        let theirs = std::fs::read(oracle.dir.join("stream")).unwrap();
        let (options, plan) = understand(&given, &[]).unwrap();
        let sending = plan.kind == PlanKind::Push;
        let args = server_args::server_args(&options, sending);
        let paths: Vec<&Location> =
            if sending { plan.dest.iter().collect() } else { plan.sources.iter().collect() };
        let (_, ours) = server_args::seclude(&options, &args, Vec::new(), &paths, None);
        let theirs = theirs.get(..ours.len().min(theirs.len())).unwrap_or_default();
        let text = |bytes: &[u8]| OsStr::from_bytes(bytes).to_os_string().into_vec();
        let shown = |bytes: &[u8]| String::from_utf8_lossy(&text(bytes)).replace('\0', "|");
        assert_eq!(shown(theirs), shown(&ours), "{line}");
    }
}
