//! Tells what kind of configuration a file is, and reads it with the reader that runs it.
//!
//! Called by `check`; the kind is also what `livemirror run` goes by.

use rsync::daemon::advice::Repair;
use rsync::daemon::config::DaemonConfigError;
use rsync::daemon::files::system_variable;
use rsync::daemon::service::{ConfigSource, LoadError, Service};

use super::finding::Finding;
use super::{CheckedFiles, PlacedSync, facts};
use crate::config::foreign::ForeignConfig;
use crate::config::toml::{self, ConfigError};
use crate::config::{SyncConfig, lsyncd, sersync};
use crate::plan::exclude::Exclude;

/// The kinds of configuration files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// Our own.
    Toml,
    /// lsyncd's, a Lua program.
    Lsyncd,
    /// sersync's `confxml.xml`.
    Sersync,
    /// `rsyncd.conf`.
    Daemon,
}

/// The kind of a file, by its name and then by its content.
pub fn kind(name: &[u8], content: &[u8]) -> FileKind {
    let ends = |suffix: &str| name.to_ascii_lowercase().ends_with(suffix.as_bytes());
    let lines = || content.split(|&b| b == b'\n').map(<[u8]>::trim_ascii);
    let called = |line: &[u8], word: &str| {
        let rest = line.strip_prefix(word.as_bytes()).map(<[u8]>::trim_ascii_start);
        rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'{' | b'(' | b'=' | b'.')))
    };
    match () {
        () if ends(".toml") || lines().any(|line| line.starts_with(b"[[sync]]")) => FileKind::Toml,
        () if ends(".lua") => FileKind::Lsyncd,
        () if ends(".xml") || content.trim_ascii_start().starts_with(b"<") => FileKind::Sersync,
        () if lines().any(|line| called(line, "sync") || called(line, "settings")) => {
            FileKind::Lsyncd
        }
        () => FileKind::Daemon,
    }
}

/// The kind of a file. Errors: it cannot be read.
pub fn kind_of(path: &[u8]) -> Result<FileKind, String> {
    facts::read(path).map(|content| kind(path, &content)).map_err(|error| error.to_string())
}

/// Reads a file, adding what it holds, and what is wrong with it.
pub fn read(path: &[u8], held: &mut CheckedFiles, found: &mut Vec<Finding>) {
    let name = String::from_utf8_lossy(path).into_owned();
    let content = match facts::read(path) {
        Ok(content) => content,
        Err(error) => {
            let finding = Finding::new(&name, (0, String::new()), error.to_string());
            return found.push(finding.fix("name a file that can be read").fatal());
        }
    };
    match kind(path, &content) {
        FileKind::Daemon if content.starts_with(b"#!") => {
            let finding = Finding::new(&name, (1, String::new()), "is a program, and is not read");
            found.push(finding.fix("name the configuration that it starts with").fatal());
        }
        FileKind::Daemon => daemon(path, held, found),
        FileKind::Toml => own(&name, &content, held, found),
        FileKind::Lsyncd => foreign(lsyncd::load(facts::path(path)), held, found),
        FileKind::Sersync => foreign(sersync::parse(&content, &name), held, found),
    }
}

/// Reads a daemon's configuration.
pub fn daemon(path: &[u8], held: &mut CheckedFiles, found: &mut Vec<Finding>) {
    let name = String::from_utf8_lossy(path).into_owned();
    match Service::new(ConfigSource::File(path.to_vec())).load(&system_variable) {
        Ok((config, _)) => {
            found.extend(config.remarks.iter().cloned().map(Finding::from));
            found.extend(rsync::daemon::advice::lint(&config).into_iter().map(Finding::from));
            held.daemons.push((name, config));
        }
        Err(error) => found.push(unusable(&name, &error)),
    }
}

fn unusable(name: &str, error: &LoadError) -> Finding {
    let (place, text) = match error {
        LoadError::File(DaemonConfigError::Grammar { place, text }) => (Some(place), text.clone()),
        LoadError::File(DaemonConfigError::Absent { place, name }) => (
            Some(place),
            format!("\"{name}\" is not done here: remove it, or leave it at its default"),
        ),
        other => (None, other.to_string()),
    };
    let line = place.map_or(0, |place| place.line);
    let file = place.map(|place| String::from_utf8_lossy(&place.file).into_owned());
    Finding::new(&file.unwrap_or_else(|| name.to_owned()), (line, String::new()), text)
        .fix("the daemon does not start")
        .fatal()
}

/// Whether a file is one of those that a sync sends.
fn is_sent(sync: &SyncConfig, file: &[u8]) -> bool {
    use std::os::unix::ffi::OsStrExt;
    let place = facts::resolved(file);
    let Ok(inner) = place.strip_prefix(facts::resolved(&sync.source)) else { return false };
    let exclude = Exclude::new(&sync.options.filters, b"");
    exclude.is_ok_and(|exclude| !exclude.hides(inner.as_os_str().as_bytes(), false))
}

/// Takes in a configuration of another program.
fn foreign(
    loaded: Result<ForeignConfig, Vec<ConfigError>>,
    held: &mut CheckedFiles,
    found: &mut Vec<Finding>,
) {
    let loaded = match loaded {
        Ok(loaded) => loaded,
        Err(errors) => return found.extend(errors.into_iter().map(Finding::from)),
    };
    for remark in loaded.remarks {
        found.push(Finding { fatal: false, ..Finding::from(remark) });
    }
    let process = &loaded.process;
    let status = process.status_file.as_ref().map(|file| &file.path);
    for (key, path) in [
        ("logfile", process.log_file.as_ref()),
        ("statusFile", status),
        ("pidfile", process.pid_file.as_ref()),
    ] {
        let (Some(path), Some(origin)) = (path, &process.origin) else { continue };
        let Some(at) = path.iter().rposition(|&b| b == b'/').filter(|&at| at > 0) else { continue };
        let folder = path.get(..at).unwrap_or_default();
        if key != "pidfile" && loaded.config.syncs.iter().any(|sync| is_sent(sync, path)) {
            let text = "lies in a directory that is mirrored: each line written is sent, and makes \
                        another line";
            let finding = Finding::new(&origin.file, origin.find(&[key]), text);
            found.push(finding.fix("write it elsewhere, or exclude it"));
        }
        if facts::directory(folder).is_err() {
            let shown = String::from_utf8_lossy(folder).into_owned();
            let text = format!("the directory {shown} does not exist");
            let finding = Finding::new(&origin.file, origin.find(&[key]), text);
            let finding = finding.fix(format!("mkdir -p {shown}")).fatal();
            found.push(finding.with_repair(Repair::MakeDir(folder.to_vec())));
        }
    }
    let placed = loaded.config.syncs.into_iter().zip(loaded.origins);
    held.syncs.extend(placed.map(|(config, origin)| PlacedSync { config, origin }));
}

fn own(name: &str, content: &[u8], held: &mut CheckedFiles, found: &mut Vec<Finding>) {
    match toml::as_text(content, name).and_then(|text| toml::parse_placed(text, name)) {
        Ok((config, origins)) => held.syncs.extend(
            config
                .syncs
                .into_iter()
                .zip(origins)
                .map(|(config, origin)| PlacedSync { config, origin }),
        ),
        Err(errors) => found.extend(errors.into_iter().map(Finding::from)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_by_name_or_content() {
        // A failure would read a file by the wrong rules.
        for (name, content, want) in [
            ("a.toml", "", FileKind::Toml),
            ("a.conf", "name = \"x\"\n[[sync]]\n", FileKind::Toml),
            ("lsyncd.conf", "settings {\n}\nsync {\n", FileKind::Lsyncd),
            ("lsyncd.conf", "settings = {\n", FileKind::Lsyncd),
            ("lsyncd.conf", "-- x\n  sync{default.rsync,\n", FileKind::Lsyncd),
            ("x.lua", "", FileKind::Lsyncd),
            ("confxml.xml", "", FileKind::Sersync),
            ("conf", "<?xml version=\"1.0\"?>\n<head>", FileKind::Sersync),
            ("rsync.conf", "# sync\nuid = 0\n[sync]\npath = /x\n", FileKind::Daemon),
            ("x.conf", "", FileKind::Daemon),
        ] {
            assert_eq!(kind(name.as_bytes(), content.as_bytes()), want, "{name} {content}");
        }
    }
}
