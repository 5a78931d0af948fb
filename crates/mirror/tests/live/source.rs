//! The guard: a source that is not what it was stops the sync and deletes nothing.

use std::fs;

use mirror::run::sync::End;

use crate::harness::{Live, Scratch, Stock};

fn refused(end: End) -> String {
    match end {
        End::Refused(refusal) => format!("{} -- {}", refusal.text, refusal.remedy),
        End::Asked => panic!("the sync went on"),
    }
}

fn started(scratch: &Scratch) -> Live {
    fs::create_dir(scratch.src("d")).unwrap();
    fs::write(scratch.src("d/f"), b"kept").unwrap();
    let config = scratch.config();
    let transfer = Stock::new(&config);
    let mut live = Live::start(config, transfer);
    live.settle(scratch);
    live
}

#[test]
fn a_replaced_source_stops_the_sync() {
    // A failure would empty the target after a disk was unmounted.
    for backend in [mirror::watch::BackendChoice::Inotify, mirror::watch::BackendChoice::Auto] {
        let scratch = Scratch::new();
        fs::write(scratch.src("f"), b"kept").unwrap();
        let mut config = scratch.config();
        config.backend = backend;
        let transfer = Stock::new(&config);
        let mut live = Live::start(config, transfer);
        live.settle(&scratch);
        fs::rename(scratch.src(""), scratch.0.join("gone")).unwrap();
        fs::create_dir(scratch.src("")).unwrap();
        let text = refused(live.end());
        assert!(text.contains("nothing was deleted"), "{text}");
        assert_eq!(fs::read(scratch.dst("f")).unwrap(), b"kept");
    }
}

#[test]
fn a_missing_source_stops_the_sync() {
    // A failure would take a missing source for an empty one.
    let scratch = Scratch::new();
    let live = started(&scratch);
    fs::rename(scratch.src(""), scratch.0.join("gone")).unwrap();
    refused(live.end());
    assert_eq!(fs::read(scratch.dst("d/f")).unwrap(), b"kept");
    let config = scratch.config();
    let transfer = Stock::new(&config);
    assert!(refused(Live::start(config, transfer).end()).contains("cannot be opened"));
    assert_eq!(fs::read(scratch.dst("d/f")).unwrap(), b"kept");
}

#[test]
fn an_empty_source_does_not_empty_its_target() {
    // A failure would wipe a target because of a wrong path or an unmounted disk.
    let scratch = Scratch::new();
    fs::write(scratch.dst("kept"), b"kept").unwrap();
    let mut config = scratch.config();
    let transfer = Stock::new(&config);
    let text = refused(Live::start(config.clone(), transfer).end());
    assert!(text.contains("is empty") && text.contains("--allow-empty"), "{text}");
    assert!(scratch.dst("kept").exists());
    config.allow_empty = true;
    let transfer = Stock::new(&config);
    let mut live = Live::start(config, transfer);
    live.settle(&scratch);
    assert!(!scratch.dst("kept").exists());
    live.stop();
}

#[test]
fn an_empty_source_with_an_empty_target_is_a_fresh_start() {
    // A failure would refuse to mirror a directory that is yet to be filled, or emptied by name.
    let scratch = Scratch::new();
    let config = scratch.config();
    let transfer = Stock::new(&config);
    let mut live = Live::start(config, transfer);
    fs::write(scratch.src("f"), b"x").unwrap();
    live.settle(&scratch);
    assert!(scratch.dst("f").exists());
    fs::remove_file(scratch.src("f")).unwrap();
    live.settle(&scratch);
    assert!(!scratch.dst("f").exists());
    live.stop();
}

#[test]
fn a_target_inside_the_source_is_refused() {
    // A failure would let a mirror feed itself, or delete its own source.
    let scratch = Scratch::new();
    for (source, target) in [("src/", "src/d"), ("dst/", "dst"), ("dst/", ".")] {
        let path = |p: &str| scratch.0.join(p).display().to_string();
        let slash = format!("{}/", path(source.trim_end_matches('/')));
        let config = mirror::config::SyncConfig {
            source: path(source.trim_end_matches('/')).into_bytes(),
            target: path(target).into_bytes(),
            ..mirror::config::SyncConfig::new(slash.as_bytes(), b"")
        };
        assert!(refused(Live::start_own(config).end()).contains("lies inside"), "{target}");
    }
}
