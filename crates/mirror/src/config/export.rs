//! A configuration as TOML, for those who leave another program's file behind.
//!
//! Called by `livemirror import`. Options are written as keys where keys can say them, else as the
//! words of rsync's command line that they were said in. What is written is read back and compared,
//! so a file either means the same or is not made.

use std::fmt::Write as _;

use rsync::options::batch::BatchFile;
use rsync::options::info::InfoLevels;
use rsync::options::{FilterArg, Options};

use super::foreign::ForeignConfig;
use super::options::from_options;
use super::{DeleteOnly, SyncConfig, toml};

/// Writes a configuration that was read from `file`. Errors: what cannot be written.
pub fn to_toml(loaded: &ForeignConfig, file: &str) -> Result<String, String> {
    let mut out = format!("# Made from {file} by livemirror import.\n");
    for remark in &loaded.remarks {
        // Remarks are one line each.
        let _ = writeln!(out, "# {remark}");
    }
    let process = &loaded.process;
    let status = process.status_file.as_ref().map(|file| &file.path);
    for (key, value, instead) in [
        ("logfile", process.log_file.as_ref(), "run prints its lines; let the service keep them"),
        ("statusFile", status, "livemirror status NAME tells it"),
        ("pidfile", process.pid_file.as_ref(), "the service knows the process"),
        ("logident", process.log_ident.as_ref(), "run prints its lines"),
        ("logfacility", process.log_facility.as_ref(), "run prints its lines"),
    ] {
        if let Some(value) = value {
            let value = String::from_utf8_lossy(value).replace('\n', " ");
            let _ = writeln!(out, "# Not carried over: {key} = {value}: {instead}.");
        }
    }
    let name = string(loaded.config.name.as_bytes())?;
    let _ = writeln!(out, "name = {name}");
    for (sync, words) in loaded.config.syncs.iter().zip(&loaded.words) {
        out.push_str(&one(sync, words)?);
    }
    Ok(out)
}

/// One `[[sync]]`: with keys if they can say all, else with the words.
fn one(sync: &SyncConfig, words: &[Vec<u8>]) -> Result<String, String> {
    let head = head(sync)?;
    let by_keys = format!("{head}{}{}", keys(&sync.options)?, rules(&sync.options.filters)?);
    if means(&by_keys, sync).is_ok() {
        return Ok(by_keys);
    }
    let (said, _) = from_options(words).map_err(|bad| bad.text)?;
    let rest = sync.options.filters.get(said.filters.len()..).unwrap_or_default();
    let words: Vec<Vec<u8>> = words.to_vec();
    let by_words = format!("{head}options = {}\n{}", list(&words)?, rules(rest)?);
    means(&by_words, sync).map(|()| by_words)
}

/// Reads a table back. Errors: it does not mean `sync`.
fn means(text: &str, sync: &SyncConfig) -> Result<(), String> {
    let shown = |errors: Vec<toml::ConfigError>| {
        errors.iter().map(|error| error.text.clone()).collect::<Vec<_>>().join(", ")
    };
    let read = toml::parse(text, "").map_err(shown)?;
    match read.syncs.first().map(plain) == Some(plain(sync)) {
        true => Ok(()),
        false => Err(format!("{}: this sync cannot be said in TOML", sync.name)),
    }
}

/// A sync without what makes no difference to a mirror: how much is told, and how words reach a
/// remote shell, which is safe either way.
fn plain(sync: &SyncConfig) -> SyncConfig {
    let rule = |rule: &FilterArg| match rule {
        FilterArg::Exclude(pattern) => FilterArg::Rule([b"- ", pattern.as_slice()].concat()),
        FilterArg::Include(pattern) => FilterArg::Rule([b"+ ", pattern.as_slice()].concat()),
        other => other.clone(),
    };
    let options = Options {
        verbose: 0,
        quiet: false,
        info: InfoLevels::default(),
        out_format: None,
        secluded_args: false,
        recurse: false,
        batch: BatchFile::default(),
        filters: sync.options.filters.iter().map(rule).collect(),
        given: Default::default(),
        ..sync.options.clone()
    };
    SyncConfig { options, ..sync.clone() }
}

fn head(sync: &SyncConfig) -> Result<String, String> {
    let mut out = String::from("\n[[sync]]\n");
    let delete = match (sync.delete, sync.delete_only) {
        (false, _) => "false",
        (true, None) => "true",
        (true, Some(DeleteOnly::Whole)) => "\"whole\"",
        (true, Some(DeleteOnly::Changes)) => "\"changes\"",
    };
    let time = |ms: u64| match ms % 1000 {
        0 => format!("\"{}s\"", ms / 1000),
        _ => format!("\"{ms}ms\""),
    };
    let lines = [
        ("name", Some(string(sync.name.as_bytes())?)),
        ("source", Some(string(&sync.source)?)),
        ("target", Some(string(&sync.target)?)),
        ("delete", Some(delete.to_owned())),
        ("delay", (sync.delay_ms > 0).then(|| time(sync.delay_ms))),
        ("max_delays", (sync.max_delays != usize::MAX).then(|| sync.max_delays.to_string())),
        ("compare_every", (sync.compare_every_ms > 0).then(|| time(sync.compare_every_ms))),
        ("skip_first", sync.skip_first.then(|| "true".to_owned())),
    ];
    for (key, value) in lines {
        if let Some(value) = value {
            let _ = writeln!(out, "{key} = {value}");
        }
    }
    Ok(out)
}

/// The options that differ from those of a sync without keys, as far as there are keys.
fn keys(options: &Options) -> Result<String, String> {
    let usual = SyncConfig::new(b"/", b"").options;
    let mut out = String::new();
    for (key, on, usual) in [
        ("links", options.links, usual.links),
        ("perms", options.perms, usual.perms),
        ("times", options.times, usual.times),
        ("owner", options.owner, usual.owner),
        ("group", options.group, usual.group),
        ("devices", options.devices, usual.devices),
        ("specials", options.specials, usual.specials),
        ("hard_links", options.hard_links, usual.hard_links),
        ("numeric_ids", options.numeric_ids, usual.numeric_ids),
        ("checksum", options.checksum, usual.checksum),
        ("compress", options.compress, usual.compress),
        ("inplace", options.inplace, usual.inplace),
        ("whole_file", options.whole_file == Some(true), false),
    ] {
        if on != usual {
            let _ = writeln!(out, "{key} = {on}");
        }
    }
    for (key, text) in [
        ("temp_dir", &options.temp_dir),
        ("rsh", &options.rsh),
        ("rsync_path", &options.rsync_path),
        ("password_file", &options.password_file),
    ] {
        if let Some(text) = text {
            let _ = writeln!(out, "{key} = {}", string(text)?);
        }
    }
    if !options.chmod.is_empty() {
        let _ = writeln!(out, "chmod = {}", list(&options.chmod)?);
    }
    for (key, number, usual) in [
        ("bwlimit", options.bwlimit / 1024, 0),
        ("timeout", options.timeout_s.into(), usual.timeout_s.into()),
        ("connect_timeout", options.contimeout_s.into(), 0),
        ("port", options.port.map_or(0, u64::from), 0),
    ] {
        if number != usual {
            let _ = writeln!(out, "{key} = {number}");
        }
    }
    Ok(out)
}

fn rules(filters: &[FilterArg]) -> Result<String, String> {
    let excludes: Option<Vec<Vec<u8>>> = filters
        .iter()
        .map(|rule| match rule {
            FilterArg::Exclude(pattern) => Some(pattern.clone()),
            _ => None,
        })
        .collect();
    match excludes {
        Some(patterns) if patterns.is_empty() => Ok(String::new()),
        Some(patterns) => Ok(format!("exclude = {}\n", list(&patterns)?)),
        None => {
            let rules: Vec<Vec<u8>> = filters
                .iter()
                .map(|rule| match rule {
                    FilterArg::Exclude(pattern) => [b"- ", pattern.as_slice()].concat(),
                    FilterArg::Include(pattern) => [b"+ ", pattern.as_slice()].concat(),
                    FilterArg::Rule(rule) => rule.clone(),
                    // Files of rules are read before this.
                    FilterArg::ExcludeFrom(file) | FilterArg::IncludeFrom(file) => file.clone(),
                })
                .collect();
            Ok(format!("filter = {}\n", list(&rules)?))
        }
    }
}

fn list(items: &[Vec<u8>]) -> Result<String, String> {
    let items: Result<Vec<String>, String> = items.iter().map(|item| string(item)).collect();
    Ok(format!("[{}]", items?.join(", ")))
}

/// A string of TOML. Errors: bytes that TOML cannot hold.
fn string(bytes: &[u8]) -> Result<String, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| {
        let shown = String::from_utf8_lossy(bytes);
        format!("\"{shown}\" is not UTF-8, which TOML cannot hold; keep the file as it is")
    })?;
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::sersync;

    #[test]
    fn files_of_sersync_mean_the_same_as_toml() {
        // A failure would mirror something else after the move.
        let stock = include_str!("../../tests/data/confxml.xml");
        for (from, to, wanted) in [
            ("", "", "options = [\"-artuz\"]"),
            ("-artuz", "-rtz", "owner = false\n"),
            ("<crontab start=\"false\"", "<crontab start=\"true\"", "compare_every = \"36000s\"\n"),
            ("<delete start=\"true\"", "<delete start=\"false\"", "delete = false\n"),
        ] {
            let text = if from.is_empty() { stock.to_owned() } else { stock.replace(from, to) };
            let loaded = sersync::parse(text.as_bytes(), "c.xml").unwrap();
            let written = to_toml(&loaded, "c.xml").unwrap();
            assert!(written.contains(wanted), "{written}");
            let read = toml::parse(&written, "new").unwrap();
            assert_eq!(plain(&read.syncs[0]), plain(&loaded.config.syncs[0]));
        }
    }

    #[cfg(feature = "lua")]
    #[test]
    fn files_of_lsyncd_mean_the_same_as_toml() {
        // A failure would mirror something else after the move.
        let article = include_str!("../../tests/data/article_lsyncd.conf");
        let more = "settings { 'insist' }\n\
            sync { default.rsync, source = '/a', target = 'h::m/\"x', delay = 0.5, init = false,\n\
            delete = 'startup', filter = { '+ /b', '- c' }, exclude = 'd', rsync = { sparse = true } }\n\
            sync { default.rsyncssh, source = '/b', host = 'h', targetdir = 't', delete = 'running',\n\
            ssh = { port = 22 }, rsync = { archive = true, chmod = 'F644', _extra = { '--exclude=q' } } }\n";
        for text in [article, more] {
            let loaded = crate::config::lsyncd::load_text("c.lua", text).unwrap();
            let written = to_toml(&loaded, "c.lua").unwrap();
            let read = toml::parse(&written, "new").unwrap();
            let same = |a: &[SyncConfig], b: &[SyncConfig]| {
                a.iter().map(plain).collect::<Vec<_>>() == b.iter().map(plain).collect::<Vec<_>>()
            };
            assert!(same(&read.syncs, &loaded.config.syncs), "{written}");
        }
        let loaded = crate::config::lsyncd::load_text("c.lua", article).unwrap();
        let written = to_toml(&loaded, "c.lua").unwrap();
        assert!(
            written.contains("\n# Not carried over: logfile = /var/lsyncd/lsyncd.log: "),
            "{written}"
        );
        assert!(
            written.contains("\nexclude = [\"dir*\"]\n") && written.contains("\nbwlimit = 200\n")
        );
        assert!(!written.contains("options = "), "keys can say all of it: {written}");
    }

    #[test]
    fn what_toml_cannot_hold_is_refused() {
        // A failure would write another path than the one that is meant.
        assert!(string(b"/a\xff").is_err());
        assert_eq!(string(b"a\"b\\\n\x7f").unwrap(), "\"a\\\"b\\\\\\u000A\\u007F\"");
    }
}
