//! The door of lsyncd: the tutorial's two files as printed, the examples that Debian installs, and
//! final trees beside the real program.

// A rule that cannot be checked is a failure.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use livemirror_tests::peer::{self, Programs, Server, Side, free_port};
use livemirror_tests::tree_text;
use rustix::process::{Pid, Signal, kill_process};

const RSYNCD: &str = include_str!("../../crates/rsync/tests/data/article_rsyncd.conf");
const LSYNCD: &str = include_str!("../../crates/mirror/tests/data/article_lsyncd.conf");
/// How long anything may take.
const LIMIT: Duration = Duration::from_secs(60);

struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Place {
        let dir = format!("livemirror-lsyncd-{}-{name}", std::process::id());
        let place = Place(std::env::temp_dir().join(dir));
        fs::create_dir_all(&place.0).unwrap();
        place
    }

    fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    fn text(&self) -> String {
        self.0.to_str().unwrap().to_owned()
    }

    fn until(&self, what: &str, done: impl Fn() -> bool) {
        let start = Instant::now();
        while !done() {
            let log = fs::read_to_string(self.0.join("var/lsyncd/lsyncd.log")).unwrap_or_default();
            assert!(start.elapsed() < LIMIT, "waiting in vain until {what}: {log}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A program of our own start, ended with this value.
struct Running(Child);

impl Running {
    fn signal(&self, signal: Signal) {
        let _ = kill_process(Pid::from_child(&self.0), signal);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        let _ = self.0.wait();
    }
}

/// A daemon that has left its parent, ended by its own pid file.
struct Detached(PathBuf);

impl Detached {
    fn pid(&self) -> Option<Pid> {
        Pid::from_raw(fs::read_to_string(&self.0).ok()?.trim().parse().ok()?)
    }
}

impl Drop for Detached {
    fn drop(&mut self) {
        if let Some(pid) = self.pid() {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

/// The tutorial at one daemon: the files as printed, with their paths below `place` and the two
/// addresses mended.
fn tutorial(programs: &Programs, side: Side) {
    let place = Place::new(&format!("tutorial-{}", side.word()));
    for dir in ["var/rsync", "var/run", "var/lsyncd", "temp/rsync_test0", "temp/rsync_test1"] {
        fs::create_dir_all(place.0.join(dir)).unwrap();
    }
    fs::create_dir_all(place.0.join("temp/test_src0")).unwrap();
    place.write("etc/rsync/rsync.passwd", "rsync:123456\n");
    place.write("etc/lsyncd/rsync.passwd", "123456\n");
    let below = |text: &str| {
        ["/var/", "/etc/", "/temp/"]
            .iter()
            .fold(text.to_owned(), |t, root| t.replace(root, &format!("{}{root}", place.text())))
    };
    let rsyncd = place.write("etc/rsync/rsync.conf", &below(RSYNCD).replace("hosts ", "#hosts "));
    let log = place.0.join("daemon.out");
    let server = match side {
        Side::Theirs => Server::start(&programs.words(side), &rsyncd, &log).unwrap(),
        Side::Ours => {
            let port = free_port();
            let program = programs.livemirror().to_str().unwrap();
            let port_word = port.to_string();
            let words = [program, "serve", rsyncd.to_str().unwrap(), "--port", &port_word]
                .map(str::to_owned);
            Server::run(&words, port, &log).unwrap()
        }
    };
    let mended = below(LSYNCD).replace("192.168.2.230", &format!("127.0.0.1:{}", server.port));
    let config = place.write("etc/lsyncd/lsyncd.conf", &mended);
    let link = place.0.join("lsyncd");
    symlink(programs.livemirror(), &link).unwrap();
    fs::write(place.0.join("temp/test_src0/before"), b"here at start").unwrap();
    let pid_file = place.0.join("var/run/lsyncd.pid");
    let mut command = Command::new(&link);
    command.arg(&config).arg("-pidfile").arg(&pid_file).current_dir(&place.0);
    command.env("XDG_RUNTIME_DIR", &place.0);
    let started = peer::run(command, Vec::new(), LIMIT);
    let said = String::from_utf8_lossy(&started.stderr).into_owned();
    assert_eq!(started.code, Some(0), "{said}");
    let daemon = Detached(pid_file);
    let target = place.0.join("temp/rsync_test0");
    place.until("the first pass is done", || target.join("before").exists());
    let start = Instant::now();
    fs::write(place.0.join("temp/test_src0/after"), b"written later").unwrap();
    place.until("a new file arrives", || {
        fs::read(target.join("after")).is_ok_and(|content| content == b"written later")
    });
    let took = start.elapsed();
    assert!((9..11).contains(&took.as_secs()), "its delay is ten seconds: {took:?}");
    fs::remove_file(place.0.join("temp/test_src0/before")).unwrap();
    let status = place.0.join("var/lsyncd/lsyncd.status");
    place.until("the status is written", || {
        fs::read_to_string(&status).is_ok_and(|text| text.contains("There are 1 delays"))
    });
    let text = fs::read_to_string(&status).unwrap();
    assert!(text.starts_with("Lsyncd status report at "), "{text}");
    assert!(text.contains("\nFiltering:\n  - dir*\n"), "{text}");
    kill_process(daemon.pid().unwrap(), Signal::TERM).unwrap();
    place.until("the daemon ends", || !daemon.0.exists());
    let log = fs::read_to_string(place.0.join("var/lsyncd/lsyncd.log")).unwrap();
    for wanted in [
        "Normal: --- Startup ---\n",
        "Normal: Startup of ",
        "Normal: --- TERM signal, fading ---\n",
    ] {
        assert!(log.contains(wanted), "{log}");
    }
    assert!(target.join("before").exists(), "delete = false keeps it");
}

#[test]
fn the_tutorial_works_with_the_reference_s_daemon() {
    let Some(programs) = Programs::find() else { return };
    tutorial(programs, Side::Theirs);
}

#[test]
fn the_tutorial_works_with_our_daemon() {
    let Some(programs) = Programs::find() else { return };
    tutorial(programs, Side::Ours);
}

/// Runs a program on a configuration, changes the source, and gives the final tree.
fn final_tree(program: &[&str], name: &str, more: &str) -> Vec<String> {
    let place = Place::new(name);
    for (path, content) in [
        ("src/kept", "1"),
        ("src/goes", "2"),
        ("src/dir/deep/file", "3"),
        ("src/skipped.o", "4"),
        ("src/run", "#!/bin/sh\n"),
        ("src/pair", "one of two names"),
        ("src/core", "what CVS passes over"),
        ("src/x.bak", "and this"),
        ("rules", "# a remark\n- /dir/deep/f*\nx.bak\n"),
        ("filters", "- /dir/deep/f*\n+ *.bak\n- x.*\n"),
        ("dst/there.o", "excluded, and there"),
        ("dst/extra", "5"),
        ("dst/goes", "an older one"),
    ] {
        place.write(path, content);
    }
    let src = place.0.join("src");
    fs::set_permissions(src.join("run"), fs::Permissions::from_mode(0o751)).unwrap();
    fs::hard_link(src.join("pair"), src.join("second")).unwrap();
    symlink("kept", src.join("link")).unwrap();
    let config = format!(
        "settings {{ nodaemon = true, logfile = \"PLACE/log\", statusFile = \"PLACE/status\" }}\n\
         sync {{ default.rsync, source = \"PLACE/src\", target = \"PLACE/dst\", delay = 1,\n\
         exclude = {{ \"*.o\" }}, {more} }}\n"
    );
    let config = place.write("lsyncd.conf", &config.replace("PLACE", &place.text()));
    let mut command = Command::new(program[0]);
    command.args(&program[1..]).arg(config).stdout(Stdio::null()).stderr(Stdio::null());
    command.env("XDG_RUNTIME_DIR", &place.0);
    let mut running = Running(command.spawn().unwrap());
    let log = || fs::read_to_string(place.0.join("log")).unwrap_or_default();
    place.until("the start is done", || {
        let log = log();
        log.contains("finished.\n") || more.contains("init") && log.contains("--- Startup ---")
    });
    if more.contains("init") {
        // The watch is open a moment after the line that tells of the start.
        std::thread::sleep(Duration::from_secs(1));
    }
    fs::remove_file(place.0.join("src/goes")).unwrap();
    fs::rename(place.0.join("src/dir"), place.0.join("src/moved")).unwrap();
    fs::write(place.0.join("src/other.o"), b"6").unwrap();
    fs::write(place.0.join("src/kept"), b"longer than before").unwrap();
    fs::write(place.0.join("src/last"), b"7").unwrap();
    let arrived = || {
        place.0.join("dst/last").exists()
            && place.0.join("dst/moved/deep/file").exists()
            && fs::read(place.0.join("dst/kept")).is_ok_and(|content| content.len() > 10)
    };
    place.until("the changes arrive", arrived);
    // What is deleted goes with them, in the real program perhaps a batch later.
    std::thread::sleep(Duration::from_millis(2500));
    running.signal(Signal::TERM);
    let code = running.0.wait().unwrap().code();
    assert_eq!(code, Some(143), "{}", log());
    // Times are those of the moment in which this run made its files.
    let is_time = |word: &str| word.contains('.') && word.parse::<f64>().is_ok();
    let without =
        |line: String| line.split(' ').filter(|w| !is_time(w)).collect::<Vec<_>>().join(" ");
    tree_text::dump(&place.0.join("dst"), None).into_iter().map(without).collect()
}

#[test]
fn final_trees_are_those_of_the_real_program() {
    let Some(programs) = Programs::find() else { return };
    let ours = programs.livemirror().to_str().unwrap();
    let cases = [
        "delete = true",
        "delete = false",
        "delete = \"startup\"",
        "delete = \"running\"",
        "init = false",
        "rsync = { archive = true, whole_file = true }",
        "rsync = { times = false, links = false, quiet = true }",
        "rsync = { perms = true, owner = true, group = true, hard_links = true }",
        "rsync = { executability = true, checksum = true, sparse = true }",
        "rsync = { cvs_exclude = true, ignore_times = true, omit_dir_times = true }",
        "delete = false, rsync = { backup = true, suffix = \".old\" }",
        "rsync = { backup = true, backup_dir = \"PLACE/old\", inplace = true }",
        "rsync = { perms = true, chmod = \"u=rw,go=,D+x\" }",
        "rsync = { archive = true, chown = \"1234:1235\", omit_link_times = true }",
        "rsync = { archive = true, usermap = \"0:1234\", groupmap = \"0:1235\" }",
        "rsync = { temp_dir = \"PLACE\", xattrs = true, acls = true, one_file_system = true, \
         protect_args = true, timeout = 30, bwlimit = 10000, compress = true, verbose = true }",
        "rsync = { ipv4 = true, _extra = { \"--chmod=F640\", \"-p\" } }",
        "filterFrom = \"PLACE/filters\"",
        "rsync = { update = true }",
        "excludeFrom = \"PLACE/rules\", maxDelays = 1, maxProcesses = 2",
    ];
    std::thread::scope(|scope| {
        for (at, more) in cases.into_iter().enumerate() {
            scope.spawn(move || {
                let got = final_tree(&[ours, "lsyncd"], &format!("ours-{at}"), more);
                let mut expected = final_tree(&["lsyncd"], &format!("real-{at}"), more);
                // On a machine with much to do the real program at times sends a file more that
                // nobody has touched, so what it leaves is asked for twice.
                if got != expected {
                    expected = final_tree(&["lsyncd"], &format!("real-{at}"), more);
                }
                assert!(expected.len() > 3, "{expected:?}");
                assert_eq!(got, expected, "{more}");
            });
        }
    });
}

#[test]
fn the_installed_examples_load_where_the_real_program_loads_them() {
    let Some(programs) = Programs::find() else { return };
    let place = Place::new("examples");
    fs::create_dir(place.0.join("src")).unwrap();
    let dir = Path::new("/usr/share/doc/lsyncd/examples");
    let mut seen = 0;
    for (name, wanted) in [
        ("lrsync.lua", ""),
        ("lrsyncssh.lua", ""),
        ("lalarm.lua", ":8: settings.nodaemon"),
        ("lbash.lua", ":10: unknown key statusIntervall"),
        ("lecho.lua", ""),
        ("lftp.lua", ""),
        ("lgforce.lua", ":79: source = \"/path/to/share\": does not exist"),
        ("limagemagic.lua", ":118: unknown key collapse in sync"),
        ("lpostcmd.lua", ":113: source = '/path/to/src': does not exist"),
        ("ls3.lua", ":209: source = '/my/dir': does not exist"),
        ("lsayirc.lua", ":20: module 'socket' not found"),
    ] {
        let mut file = dir.join(name);
        let packed = dir.join("ls3.lua.gz");
        if name == "ls3.lua" && packed.exists() {
            let text = Command::new("zcat").arg(packed).output().unwrap().stdout;
            file = place.write(name, &String::from_utf8(text).unwrap());
        }
        if !file.exists() {
            continue;
        }
        seen += 1;
        let mut command = Command::new(programs.livemirror());
        command.args(["check", "--offline"]).arg(&file).current_dir(&place.0);
        let run = peer::run(command, Vec::new(), LIMIT);
        let said = String::from_utf8_lossy(&run.stdout).into_owned();
        if wanted.is_empty() {
            assert_eq!((run.code, said.as_str()), (Some(0), ""), "{name}");
            continue;
        }
        let first = said.lines().next().unwrap_or_default();
        assert!(first.starts_with(&format!("{}{wanted}", file.display())), "{name}: {said}");
        let mut command = Command::new(programs.livemirror());
        command.args(["lsyncd", "-nodaemon"]).arg(&file).current_dir(&place.0);
        let run = peer::run(command, Vec::new(), LIMIT);
        assert_eq!(run.code, Some(255), "{name}");
    }
    assert!(seen == 0 || seen > 8, "{seen} examples");
}

#[test]
fn the_command_line_ends_as_the_real_one() {
    let Some(programs) = Programs::find() else { return };
    let place = Place::new("words");
    place.write("x.lua", "x = 1\n");
    fs::create_dir(place.0.join("s")).unwrap();
    let ours = programs.livemirror().to_str().unwrap();
    for args in [
        &["-version"][..],
        &["--help"],
        &[],
        &["-foo"],
        &["-rsync", "s"],
        &["-nodaemon", "x.lua", "-rsync", "s", "t"],
        &["-nodaemon", "x.lua"],
        &["-nodaemon", "none.lua"],
        &["-nodaemon", "-rsync", "none", "t"],
        &["-log"],
        &["-log", "exec", "-nodaemon", "x.lua"],
        &["-log", "", "-nodaemon", "x.lua"],
        &["-nodaemon", "-monitor"],
    ] {
        let code = |program: &[&str]| {
            let mut command = Command::new(program[0]);
            command.args(&program[1..]).args(args).current_dir(&place.0);
            command.env("XDG_RUNTIME_DIR", &place.0);
            peer::run(command, Vec::new(), LIMIT).code
        };
        assert_eq!(code(&[ours, "lsyncd"]), code(&["lsyncd"]), "{args:?}");
    }
}

#[test]
fn a_hang_up_reads_the_configuration_anew() {
    let Some(programs) = Programs::find() else { return };
    let place = Place::new("hup");
    place.write("src/file", "1");
    place.write("other/more", "2");
    let write = |source: &str| {
        let text = format!(
            "settings {{ nodaemon = true, logfile = \"PLACE/log\" }}\n\
             sync {{ default.rsync, source = \"PLACE/{source}\", target = \"PLACE/dst\", delay = 0 }}\n"
        );
        place.write("lsyncd.conf", &text.replace("PLACE", &place.text()))
    };
    let mut command = Command::new(programs.livemirror());
    command.arg("lsyncd").arg(write("src")).stdout(Stdio::null()).stderr(Stdio::null());
    let mut running = Running(command.env("XDG_RUNTIME_DIR", &place.0).spawn().unwrap());
    place.until("the first is there", || place.0.join("dst/file").exists());
    write("other");
    running.signal(Signal::HUP);
    place.until("the other is there", || {
        place.0.join("dst/more").exists() && !place.0.join("dst/file").exists()
    });
    place.write("lsyncd.conf", "this is no Lua");
    running.signal(Signal::HUP);
    assert_eq!(running.0.wait().unwrap().code(), Some(255), "as the real one");
    let log = fs::read_to_string(place.0.join("log")).unwrap();
    assert_eq!(log.matches("--- HUP signal, resetting ---").count(), 2, "{log}");
    assert!(log.contains("Error: ") && log.contains("lsyncd.conf:1: "), "{log}");
}

#[test]
fn a_single_pass_ends_with_all_of_its_syncs() {
    let Some(programs) = Programs::find() else { return };
    let place = Place::new("onepass");
    place.write("one/file", "1");
    place.write("two/file", "2");
    place.write("blocked", "a file where a directory is wanted");
    let run = |targets: [&str; 2], args: &[&str]| {
        let sync = |source: &str, target: &str| {
            format!(
                "sync {{ default.rsync, source = \"PLACE/{source}\", target = \"PLACE/{target}\" }}\n"
            )
        };
        let text = [sync("one", targets[0]), sync("two", targets[1])].concat();
        let file = place.write("lsyncd.conf", &text.replace("PLACE", &place.text()));
        let mut command = Command::new(programs.livemirror());
        command.args(["lsyncd", "-nodaemon"]).args(args).arg(file);
        command.env("XDG_RUNTIME_DIR", &place.0);
        peer::run(command, Vec::new(), LIMIT).code
    };
    assert_eq!(run(["a", "b"], &["-onepass"]), Some(0));
    assert!(place.0.join("a/file").exists() && place.0.join("b/file").exists());
    assert_eq!(run(["c", "blocked/d"], &["-onepass"]), Some(255), "one cannot be sent");
}

/// Characters of the time before each line of the log.
const TIME: usize = "Tue Nov 24 02:35:21 2026 ".len();

/// What is written of each kind that is wanted: the kinds of all lines, and the commands that ran.
fn kinds(program: &[&str], name: &str, words: &[&str]) -> (Vec<String>, Vec<String>) {
    let place = Place::new(name);
    place.write("src/there", "1");
    let config = "settings { nodaemon = true, logfile = 'PLACE/log' }
        log('Mine', 'a line of the configuration')
        sync { source = 'PLACE/src', target = 'PLACE/dst', delay = 0,
            onStartup = '/bin/touch PLACE/up', onCreate = '/bin/touch ^targetPathname',
            onModify = 'exit 3', exitcodes = { [0] = 'ok', [3] = 'ok' } }";
    fs::create_dir_all(place.0.join("dst")).unwrap();
    let config = place.write("lsyncd.conf", &config.replace("PLACE", &place.text()));
    let mut command = Command::new(program[0]);
    command.args(&program[1..]).args(words).arg(config).env("XDG_RUNTIME_DIR", &place.0);
    let mut running = Running(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    place.until("the start is done", || place.0.join("up").exists());
    std::thread::sleep(Duration::from_millis(500));
    fs::write(place.0.join("src/new"), b"1").unwrap();
    place.until("it is acted on", || place.0.join("dst/new").exists());
    std::thread::sleep(Duration::from_millis(500));
    running.signal(Signal::TERM);
    assert_eq!(running.0.wait().unwrap().code(), Some(143));
    let log = fs::read_to_string(place.0.join("log")).unwrap_or_default();
    let log = log.replace(&place.text(), "PLACE");
    let fields = || log.lines().filter_map(|line| line.get(TIME..)?.split_once(": "));
    let mut kinds: Vec<String> = fields().map(|(kind, _)| kind.to_owned()).collect();
    kinds.sort();
    kinds.dedup();
    let wanted = |text: &str| {
        let starts = ["Finished ", "Startup of ", "Event ", "/bin/touch "];
        starts.iter().any(|start| text.starts_with(start)) && !text.contains("-c")
    };
    (kinds, fields().map(|(_, text)| text.to_owned()).filter(|text| wanted(text)).collect())
}

#[test]
fn kinds_of_lines_are_written_as_asked_for() {
    let Some(programs) = Programs::find() else { return };
    let ours = programs.livemirror().to_str().unwrap();
    std::thread::scope(|scope| {
        for (at, words) in [
            &[][..],
            &["-log", "Exec", "-log", "Mine"],
            &["-log", "Exec", "-log", "scarce"],
            &["-log", "Delay", "-log", "Inotify", "-monitor", "inotify"],
            &["-log", "all", "-log", "scarce"],
        ]
        .into_iter()
        .enumerate()
        {
            scope.spawn(move || {
                let mut wanted = kinds(&["lsyncd"], &format!("real-kinds{at}"), words);
                let mut got = kinds(&[ours, "lsyncd"], &format!("ours-kinds{at}"), words);
                // What is logged before the settings are known is not in the real one's file.
                wanted.0.retain(|kind| kind != "Mine");
                got.0.retain(|kind| kind != "Mine");
                assert_eq!(got, wanted, "{words:?}");
                assert!(words.contains(&"scarce") || wanted.1.len() > 3, "{wanted:?}");
            });
        }
    });
}
