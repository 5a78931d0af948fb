//! Actions of one's own in a configuration of lsyncd: beside the real program, with names that a
//! shell would run, and through a program in the place of rsync.

// A rule that cannot be checked is a failure.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use livemirror_tests::peer::Programs;
use rustix::process::{Pid, Signal, kill_process};

/// How long anything may take.
const LIMIT: Duration = Duration::from_secs(20);

struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Place {
        let dir = format!("livemirror-scripts-{}-{name}", std::process::id());
        let place = Place(std::env::temp_dir().join(dir));
        fs::create_dir_all(place.0.join("src")).unwrap();
        fs::create_dir_all(place.0.join("dst")).unwrap();
        place
    }

    fn src(&self, name: &str) -> PathBuf {
        self.0.join("src").join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(name)).unwrap_or_default()
    }

    /// Starts a program on a configuration, and waits until the start is done.
    fn start(&self, program: &[&str], config: &str) -> Running {
        let shown = self.0.to_str().unwrap();
        let config = format!("settings {{ nodaemon = true, logfile = 'PLACE/log' }}\n{config}");
        let file = self.0.join("lsyncd.conf");
        fs::write(&file, config.replace("PLACE", shown)).unwrap();
        let mut command = Command::new(program[0]);
        command.args(&program[1..]).arg(file).stdout(Stdio::null()).stderr(Stdio::null());
        command.current_dir(&self.0).env("XDG_RUNTIME_DIR", &self.0);
        let running = Running(command.spawn().unwrap());
        self.until("the start is done", || self.read("out").contains("start"));
        std::thread::sleep(STEP);
        running
    }

    fn until(&self, what: &str, done: impl Fn() -> bool) {
        let start = Instant::now();
        while !done() {
            let (log, out) = (self.read("log"), self.read("out"));
            assert!(start.elapsed() < LIMIT, "waiting in vain until {what}:\n{log}\n{out}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

struct Running(Child);

impl Running {
    fn end(&mut self) -> Option<i32> {
        let _ = kill_process(Pid::from_child(&self.0), Signal::TERM);
        self.0.wait().unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Longer than any of the two programs takes to act on a change.
const STEP: Duration = Duration::from_millis(500);

/// What a configuration's actions write when one thing after another happens.
fn lines(program: &[&str], name: &str, config: &str) -> (Option<i32>, Vec<String>) {
    let place = Place::new(name);
    let mut running = place.start(program, config);
    let step = |done: &dyn Fn()| {
        done();
        std::thread::sleep(STEP);
    };
    step(&|| fs::write(place.src("a b"), b"1").unwrap());
    step(&|| fs::create_dir(place.src("dir")).unwrap());
    step(&|| fs::write(place.src("dir/it's"), b"2").unwrap());
    step(&|| fs::set_permissions(place.src("a b"), fs::Permissions::from_mode(0o600)).unwrap());
    step(&|| fs::rename(place.src("a b"), place.src("dir/c")).unwrap());
    step(&|| fs::rename(place.src("dir"), place.src("other")).unwrap());
    step(&|| fs::write(place.src("other/c"), b"33").unwrap());
    step(&|| fs::remove_file(place.src("other/c")).unwrap());
    step(&|| fs::remove_dir_all(place.src("other")).unwrap());
    let code = running.end();
    let out = place.read("out").replace(place.0.to_str().unwrap(), "PLACE");
    (code, out.lines().map(str::to_owned).collect())
}

const COMMANDS: &str = r#"
local function out(text) return 'echo ' .. text .. ' >> PLACE/out' end
sync { source = 'PLACE/src', target = 'PLACE/dst/', delay = 0, maxProcesses = 1,
    onStartup = out 'start ^source ^target',
    onAttrib = out 'attrib ^pathname',
    onCreate = out 'create ^path ^pathname ^pathdir ^sourcePath ^targetPathname',
    onModify = out 'modify ^path ^sourcePathdir',
    onDelete = out 'delete ^path ^targetPath ^targetPathdir',
    onMove = out 'move ^o.path ^d.path ^o.targetPathname ^d.targetPathname' }
"#;

const FUNCTIONS: &str = r#"
local function out(e, ...) spawnShell(e, 'echo "$@" >> PLACE/out', ...) end
sync { source = 'PLACE/src', target = 'PLACE/dst', delay = 0,
    init = function(e) out(e, 'start', e.etype, e.source) end,
    action = function(inlet)
        local e, e2 = inlet.getEvent()
        if e.etype == 'Attrib' then inlet.discardEvent(e) return end
        out(e, e.etype, e.name, e.basename, e.path, tostring(e.isdir), e.targetPath,
            e2 and e2.path or 'none', inlet.getConfig().delay)
    end,
    onMove = true, exitcodes = { [0] = 'ok' } }
"#;

const SPLIT: &str = r#"
sync { source = 'PLACE/src', delay = 0, init = function(e) spawnShell(e, 'echo start >> PLACE/out') end,
    action = function(inlet)
        local e = inlet.getEvent()
        if e.etype == 'Modify' or e.etype == 'Attrib' then inlet.discardEvent(e) return end
        spawnShell(e, 'echo "$@" >> PLACE/out', e.etype, e.path)
    end }
"#;

#[test]
fn actions_are_told_what_the_real_program_tells() {
    let Some(programs) = Programs::find() else { return };
    let ours = programs.livemirror().to_str().unwrap();
    std::thread::scope(|scope| {
        for (name, config) in [("commands", COMMANDS), ("functions", FUNCTIONS), ("split", SPLIT)] {
            scope.spawn(move || {
                let mut wanted = lines(&["lsyncd"], &format!("real-{name}"), config);
                let mut got = lines(&[ours, "lsyncd"], &format!("ours-{name}"), config);
                if name == "split" {
                    // What is in a directory that came is told in no certain order.
                    wanted.1.sort();
                    got.1.sort();
                }
                assert!(wanted.1.len() > 9, "{wanted:?}");
                assert_eq!(got, wanted, "{name}");
            });
        }
    });
}

const MODES: &str = r#"
settings { inotifyMode = 'MODE' }
local function out(text) return 'echo ' .. text .. ' >> PLACE/out' end
sync { source = 'PLACE/src', delay = 0, onStartup = out 'start', onModify = out 'modify ^path' }
"#;

/// What is told of a file that is written while it is open, closed, and opened without a word.
fn writes(program: &[&str], name: &str, config: &str) -> Vec<String> {
    let place = Place::new(name);
    let _running = place.start(program, config);
    let step = |name: &str, done: &dyn Fn()| {
        done();
        std::thread::sleep(STEP);
        let mut file = fs::OpenOptions::new().append(true).open(place.0.join("out")).unwrap();
        std::io::Write::write_all(&mut file, format!("after {name}\n").as_bytes()).unwrap();
    };
    let mut file = fs::File::create(place.src("open")).unwrap();
    step("first", &|| std::io::Write::write_all(&mut &file, b"1").unwrap());
    step("second", &|| std::io::Write::write_all(&mut &file, b"2").unwrap());
    std::io::Write::flush(&mut file).unwrap();
    step("closed", &|| drop(fs::OpenOptions::new().append(true).open(place.src("open"))));
    let mut told: Vec<String> = place.read("out").lines().map(str::to_owned).collect();
    told.dedup();
    told
}

#[test]
fn a_file_is_modified_when_the_setting_says() {
    let Some(programs) = Programs::find() else { return };
    let ours = programs.livemirror().to_str().unwrap();
    let mut seen = Vec::new();
    for (at, mode) in ["CloseWrite", "Modify", "CloseWrite or Modify"].into_iter().enumerate() {
        let config = MODES.replace("MODE", mode);
        let wanted = writes(&["lsyncd"], &format!("real-mode{at}"), &config);
        let got = writes(&[ours, "lsyncd"], &format!("ours-mode{at}"), &config);
        assert_eq!(got, wanted, "{mode}");
        seen.push(wanted);
    }
    assert!(seen[0] != seen[1] && seen[1] != seen[2] && seen[2] != seen[0], "{seen:?}");
}

const RULES: &str = r#"
sync { default.rsync, source = 'PLACE/src', target = 'PLACE/dst', delay = 0, filter = '- /f*', exclude = '*.e',
    prepare = function(config, level)
        config.rsync.times = false
        default.rsync.prepare(config, level)
    end,
    init = function(event)
        local inlet = event.inlet
        inlet.appendFilter('- *.a')
        inlet.addExclude('*.x')
        inlet.addExclude('*.gone')
        inlet.rmExclude('*.gone')
        local file = io.open('PLACE/out', 'w')
        file:write('start ', tostring(inlet.hasFilters()), ' ', inlet.getFilters()[1], ' ', inlet.getFilters()[2])
        file:close()
        default.rsync.init(event)
    end }
"#;

#[test]
fn rules_that_functions_add_hide_what_they_hide_there() {
    let Some(programs) = Programs::find() else { return };
    let ours = programs.livemirror().to_str().unwrap();
    let arrived = |program: &[&str], name: &str| {
        let place = Place::new(name);
        for file in ["1", "1.a", "1.x", "1.e", "1.gone", "f1"] {
            fs::write(place.src(file), b"1").unwrap();
        }
        let _running = place.start(program, RULES);
        place.until("the start is over", || place.0.join("dst/1.gone").exists());
        for file in ["2.a", "2.x", "2.e", "f2", "2.gone", "2"] {
            fs::write(place.src(file), b"2").unwrap();
        }
        place.until("changes arrive", || {
            ["2.gone", "2"].iter().all(|n| place.0.join("dst").join(n).exists())
        });
        let names = fs::read_dir(place.0.join("dst")).unwrap();
        let mut names: Vec<String> =
            names.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        (names, place.read("out"))
    };
    let wanted = arrived(&["lsyncd"], "real-rules");
    assert_eq!(wanted.0, ["1", "1.gone", "2", "2.gone"]);
    assert_eq!(arrived(&[ours, "lsyncd"], "ours-rules"), wanted);
}

#[test]
fn alarms_ring_beside_plain_syncs() {
    let Some(programs) = Programs::find() else { return };
    let ours = programs.livemirror().to_str().unwrap();
    let config = "sync { default.rsync, source = 'PLACE/src', target = 'PLACE/dst', delay = 0 }
        local function ring(_, text)
            local file = io.open('PLACE/out', 'w')
            file:write(text)
            file:close()
        end
        alarm(now() + 1, ring, 'start of it')";
    for (program, name) in [(&["lsyncd"][..], "real-alarm"), (&[ours, "lsyncd"], "ours-alarm")] {
        let place = Place::new(name);
        let mut running = place.start(program, config);
        assert_eq!(place.read("out"), "start of it", "{name}");
        assert_eq!(running.end(), Some(143), "{name}");
    }
}

#[test]
fn a_large_file_goes_by_itself() {
    let Some(programs) = Programs::find() else { return };
    let place = Place::new("large");
    let config = "sync { default.rsync, source = 'PLACE/src', target = 'PLACE/dst', delay = 0.5,
        batchSizeLimit = 1000, rsync = { binary = 'PLACE/wrap' } }";
    let wrapper = place.0.join("wrap");
    let text = "#!/bin/sh\n[ -e PLACE/out ] || { echo start > PLACE/out; exec rsync \"$@\"; }\n\
                tr '\\0' ' ' | sed 's,.*,list &,' >> PLACE/out\n";
    fs::write(&wrapper, text.replace("PLACE", place.0.to_str().unwrap())).unwrap();
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).unwrap();
    let program = programs.livemirror().to_str().unwrap();
    let _running = place.start(&[program, "lsyncd"], config);
    for (name, size) in [("a", 10), ("big", 2000), ("c", 10)] {
        fs::write(place.src(name), vec![b'x'; size]).unwrap();
    }
    place.until("all are sent", || {
        ["/a ", "/big ", "/c "].iter().all(|n| place.read("out").contains(n))
    });
    let out = place.read("out");
    let with_big: Vec<&str> = out.split("list ").filter(|list| list.contains("/big")).collect();
    assert!(with_big.iter().all(|list| !list.contains("/a ") && !list.contains("/c ")), "{out}");
}

#[test]
fn names_are_never_run() {
    let Some(programs) = Programs::find() else { return };
    let place = Place::new("names");
    let config = r#"sync { source = 'PLACE/src', target = 'PLACE/dst', delay = 0,
        onStartup = '^echo start >> PLACE/out',
        onCreate = [[cp "^sourcePathname" '^targetPathname'; printf '%s\n' "$(basename -- ^path)" '^path' >> PLACE/out]],
        onModify = '/bin/cp ^sourcePathname ^targetPathname',
        onDelete = 'rm "^targetPathname"; false' }"#;
    let program = programs.livemirror().to_str().unwrap();
    let mut running = place.start(&[program, "lsyncd"], config);
    let names = [
        "a`touch ran`b",
        "c$(touch ran)d",
        "e\"; touch ran; \"f",
        "g'; touch ran; 'h",
        "-n  x",
        "* ",
    ];
    for name in names {
        fs::write(place.src(name), name).unwrap();
        let copy = place.0.join("dst").join(name);
        place.until("it is copied", || fs::read(&copy).is_ok_and(|c| c == name.as_bytes()));
        place.until("it is told twice", || place.read("out").matches(name).count() == 2);
    }
    fs::remove_file(place.src(names[0])).unwrap();
    place.until("it is deleted", || !place.0.join("dst").join(names[0]).exists());
    fs::remove_file(place.src(names[1])).unwrap();
    place.until("a command that fails ends nothing", || {
        !place.0.join("dst").join(names[1]).exists()
    });
    assert!(!place.0.join("ran").exists() && !place.src("ran").exists(), "a name was run");
    assert_eq!(running.end(), Some(143));
}

#[test]
fn exit_codes_and_the_end() {
    let Some(programs) = Programs::find() else { return };
    let place = Place::new("codes");
    let config = r#"sync { source = 'PLACE/src', delay = 0,
        onStartup = 'echo start >> PLACE/out',
        onCreate = 'echo try >> PLACE/out; [ ^pathname = end ] && exit 9; [ -e PLACE/src/go ] || exit 3',
        exitcodes = { [0] = 'ok', [3] = 'again', [9] = 'die' } }"#;
    let config = config.replace(
        "exitcodes",
        "crontab = { '* * * * * *' }, onFull = 'echo full ^source >> PLACE/out', exitcodes",
    );
    let program = programs.livemirror().to_str().unwrap();
    let mut running = place.start(&[program, "lsyncd"], &config);
    place.until("the clock has its say", || place.read("out").contains("full /"));
    fs::write(place.src("file"), b"").unwrap();
    place.until("it is tried again", || place.read("out").matches("try").count() > 2);
    fs::write(place.src("go"), b"").unwrap();
    place.until("it is done", || place.read("log").contains("/file = 0"));
    fs::write(place.src("end"), b"").unwrap();
    let start = Instant::now();
    while running.0.try_wait().unwrap().is_none() {
        assert!(start.elapsed() < LIMIT, "it does not end: {}", place.read("log"));
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(running.0.wait().unwrap().code(), Some(255));
}

/// The installed lsyncd is of a version that does not know the setting.
#[test]
fn one_pass_ends_when_every_start_is_done() {
    let Some(programs) = Programs::find() else { return };
    let place = Place::new("once");
    let config = "settings { onepass = true }
        sync { source = 'PLACE/src', delay = 0, onStartup = 'sleep 0.3; echo start >> PLACE/out' }
        sync { source = 'PLACE/dst', delay = 0, onStartup = 'echo early >> PLACE/out' }";
    let program = programs.livemirror().to_str().unwrap();
    let mut running = place.start(&[program, "lsyncd"], config);
    let start = Instant::now();
    while running.0.try_wait().unwrap().is_none() {
        assert!(start.elapsed() < LIMIT, "it does not end: {}", place.read("log"));
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(running.0.wait().unwrap().code(), Some(0));
    assert_eq!(place.read("out"), "early\nstart\n");
}

#[test]
fn a_program_in_the_place_of_rsync_and_one_that_follows_it() {
    let Some(programs) = Programs::find() else { return };
    let place = Place::new("wrap");
    let wrapper = place.0.join("wrap");
    fs::write(&wrapper, "#!/bin/sh\necho run >> \"$(dirname \"$0\")/out\"\nexec rsync \"$@\"\n")
        .unwrap();
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(place.src("before"), b"1").unwrap();
    fs::write(place.0.join("dst/extra"), b"1").unwrap();
    let config = r#"
sync { default.rsync, source = 'PLACE/src', target = 'PLACE/dst', delay = 0,
    rsync = { binary = 'PLACE/wrap', archive = true } }
sync { default.rsync, source = 'PLACE/src', target = 'PLACE/second', delay = 0, maxProcesses = 1,
    checkgauge = { default.rsync.checkgauge, note = true }, note = 'after',
    action = function(inlet)
        local event = inlet.getEvent()
        if event.etype == 'Blanket' then
            if rawget(event, 'follows') then
                return spawnShell(event, 'echo "$1" >> PLACE/out', inlet.getConfig().note)
            end
        end
        local next = inlet.createBlanketEvent()
        next.follows = true
        return default.rsync.action(inlet)
    end,
    collect = function(agent, code)
        if not agent.isList and agent.etype == 'Init' and code == 0 then
            local file = io.open('PLACE/out', 'a')
            file:write('start\n')
            file:close()
        end
        return default.collect(agent, code)
    end }
alarm(now() + 1, function(_, name)
    local file = io.open(name, 'w')
    file:close()
end, 'PLACE/src/rung')"#;
    let program = programs.livemirror().to_str().unwrap();
    let mut running = place.start(&[program, "lsyncd"], config);
    place.until("the alarm rings", || place.0.join("dst/rung").exists());
    fs::create_dir_all(place.src("d/[x]*")).unwrap();
    fs::write(place.src("d/[x]*/file"), b"22").unwrap();
    for target in ["dst", "second"] {
        place.until("it arrives", || place.0.join(target).join("d/[x]*/file").exists());
        assert!(place.0.join(target).join("before").exists());
    }
    assert!(!place.0.join("dst/extra").exists(), "the start deletes");
    fs::write(place.src("x\nError: \u{1b}[2J"), b"").unwrap();
    place.until("it is told", || place.read("log").contains("/x?Error: ?\\[2J"));
    assert!(!place.read("log").contains('\u{1b}'), "a name writes to the terminal");
    fs::remove_dir_all(place.src("d")).unwrap();
    place
        .until("it goes", || !place.0.join("dst/d").exists() && !place.0.join("second/d").exists());
    place.until("what follows is run", || place.read("out").contains("after\n"));
    assert!(place.read("out").contains("run\n"));
    assert_eq!(running.end(), Some(143));
}
