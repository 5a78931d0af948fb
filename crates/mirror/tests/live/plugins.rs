//! A program or a socket that is told of what was sent.

use std::fs;
use std::io::Read as _;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Arc, Mutex};

use mirror::config::SyncConfig;
use mirror::config::plugin::{Plugin, PluginTo};
use mirror::report::What;
use rsync::options::FilterArg;

use crate::harness::{Live, Scratch};

fn config(scratch: &Scratch, to: PluginTo, alone: bool) -> SyncConfig {
    let plugin = Some(Plugin { to, only: Vec::new(), alone });
    SyncConfig { plugin, skip_first: alone, ..scratch.config() }
}

/// A program that writes down its words, and fails while a file `fail` is there.
fn program(scratch: &Scratch, ignore_error: bool) -> PluginTo {
    let path = scratch.0.join("tell");
    let text = "#!/bin/sh\nprintf '%s|' \"$@\" >> \"${0%/*}/told\"; echo >> \"${0%/*}/told\"\n\
        [ ! -e \"${0%/*}/fail\" ]\n";
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let before = vec![path.to_str().unwrap().into(), b"before".to_vec()];
    PluginTo::Command { before, after: vec![b"after".to_vec()], ignore_error }
}

/// What was told, a line each, below the source.
fn told(scratch: &Scratch) -> Vec<String> {
    let text = fs::read_to_string(scratch.0.join("told")).unwrap_or_default();
    let front = format!("before|{}", scratch.src("").to_str().unwrap());
    let line = |line: &str| {
        line.strip_prefix(&front).and_then(|l| l.strip_suffix("|after|")).map(str::to_owned)
    };
    text.lines().map(|text| line(text).unwrap_or_else(|| panic!("odd line {text}"))).collect()
}

#[test]
fn a_program_is_told_of_each_path_once_it_was_sent() {
    // A failure would run what a file is called, or leave out a file.
    let scratch = Scratch::new();
    fs::write(scratch.src("before"), b"x").unwrap();
    fs::create_dir_all(scratch.0.join("out/moved/in")).unwrap();
    fs::write(scratch.0.join("out/moved/in/file"), b"x").unwrap();
    let mut live = Live::start_own(config(&scratch, program(&scratch, false), false));
    live.until("the first pass is done", || live.shared.status().passes == 1);
    assert!(told(&scratch).is_empty());
    let odd = "a`touch executed` \"; touch executed; $(touch executed) '";
    fs::write(scratch.src(odd), b"x").unwrap();
    live.until("it is told", || told(&scratch) == [odd]);
    assert!(scratch.dst(odd).exists());
    fs::rename(scratch.0.join("out/moved"), scratch.src("moved")).unwrap();
    live.until("all in it is told", || told(&scratch).len() >= 4);
    assert_eq!(told(&scratch)[1..], ["moved", "moved/in", "moved/in/file"]);
    fs::remove_file(scratch.src("moved/in/file")).unwrap();
    live.until("what is gone is told", || told(&scratch).len() == 5);
    live.settle(&scratch);
    assert_eq!(told(&scratch)[4], "moved/in/file");
    assert!(told(&scratch)[5..].iter().all(|path| path.starts_with("marker-")));
    assert!(!scratch.src("executed").exists() && !std::path::Path::new("executed").exists());
}

#[test]
fn a_path_for_which_a_program_fails_is_told_again() {
    // A failure would lose what somebody was to be told, or hold a mirror up for ever.
    let scratch = Scratch::new();
    fs::write(scratch.0.join("fail"), b"").unwrap();
    let live = Live::start_own(config(&scratch, program(&scratch, false), false));
    live.until("the first pass is done", || live.shared.status().passes == 1);
    fs::write(scratch.src("file"), b"x").unwrap();
    live.until("it failed", || live.count(|what| matches!(what, What::Retry { text, .. } if text.contains("tell ended with exit status: 1"))) > 0);
    fs::remove_file(scratch.0.join("fail")).unwrap();
    live.until("all is done", || live.shared.status().queue == 0);
    assert!(told(&scratch).len() > 1 && told(&scratch).iter().all(|path| path == "file"));
    drop(live);

    let scratch = Scratch::new();
    fs::write(scratch.0.join("fail"), b"").unwrap();
    let live = Live::start_own(config(&scratch, program(&scratch, true), false));
    live.until("the first pass is done", || live.shared.status().passes == 1);
    fs::write(scratch.src("file"), b"x").unwrap();
    live.until("it is told", || told(&scratch).len() == 1 && live.shared.status().queue == 0);
}

#[test]
fn a_program_that_does_not_end_does_not_hold_the_end_up() {
    // A failure would leave a service that cannot be stopped.
    let scratch = Scratch::new();
    let before = ["/bin/sh", "-c", "echo > \"$0.started\"; exec sleep 600"];
    let before = before.iter().map(|word| word.as_bytes().to_vec()).collect();
    let to = PluginTo::Command { before, after: Vec::new(), ignore_error: true };
    let live = Live::start_own(config(&scratch, to, false));
    live.until("the first pass is done", || live.shared.status().passes == 1);
    fs::write(scratch.src("file"), b"x").unwrap();
    live.until("it runs", || scratch.src("file.started").exists());
    live.stop();
}

#[test]
fn a_socket_is_told_the_bare_path_and_nothing_is_sent() {
    // A failure would send to nobody, or tell a path that cannot be read as one.
    let scratch = Scratch::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard: Arc<Mutex<Vec<String>>> = Arc::default();
    let kept = Arc::clone(&heard);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut text = String::new();
            stream.unwrap().read_to_string(&mut text).unwrap();
            kept.lock().unwrap().push(text);
        }
    });
    fs::write(scratch.src("before"), b"x").unwrap();
    let to = PluginTo::Socket { host: "127.0.0.1".into(), port };
    let only = vec![FilterArg::Exclude(b"*.php".to_vec())];
    let mut config = config(&scratch, to, true);
    config.plugin.as_mut().unwrap().only = only;
    config.target = Vec::new();
    let live = Live::start_own(config);
    live.until("the watch is open", || !live.reports.lock().unwrap().is_empty());
    fs::write(scratch.src("a b.php"), b"x").unwrap();
    fs::write(scratch.src("c.txt"), b"x").unwrap();
    let path = scratch.src("a b.php").to_str().unwrap().to_owned();
    live.until("it is told", || heard.lock().unwrap().contains(&path));
    fs::remove_file(scratch.src("a b.php")).unwrap();
    live.until("its end is told", || heard.lock().unwrap().len() == 2);
    live.idle();
    assert_eq!(*heard.lock().unwrap(), [path.clone(), path]);
    assert_eq!(fs::read_dir(scratch.dst("")).unwrap().count(), 0);
}
