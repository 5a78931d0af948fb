//! From the tables of a configuration program to syncs: inheritance, the layers, each key's meaning.
//!
//! Called by `load`. In steps: the settings are merged in the order of their calls; each sync's table
//! inherits, names its layer, and its keys are checked against the rows of `keys`; what is in
//! `rsync = { ... }` becomes words of rsync's command line, understood by rsync's own parser.

use super::keys::{FORMER, KeySupport, Keys, SETTINGS, SYNC};
use super::places::{LuaEntry, entries};
use super::value::{Evaluated, LuaCall, LuaData, LuaTable};
use crate::config::foreign::{ForeignConfig, ProcessSettings, mirror_name};
use crate::config::origin::SyncOrigin;
use crate::config::toml::{ConfigError, nearest};
use crate::config::{Config, DeleteOnly, ModifiedWhen, Once, StatusFile, SyncConfig};
use rsync::daemon::params::{ParamKind, parse_value};
use rsync::options::FilterArg;

/// Makes a configuration of what a program said. Errors: all mistakes.
pub(super) fn assemble(said: Evaluated) -> Result<ForeignConfig, Vec<ConfigError>> {
    let mut errors = Vec::new();
    let mut remarks = Vec::new();
    undefined(&said, &mut errors, &mut remarks);
    repeated(&said, &mut remarks);
    let mut process = ProcessSettings::default();
    let mut whole = WholeSettings::default();
    for call in &said.settings {
        let mut reader = Reader::new(&said, call, &mut errors);
        reader.settings(&mut process, &mut whole);
        process.origin = Some(reader.origin);
    }
    let (mut syncs, mut origins, mut words) = (Vec::new(), Vec::new(), Vec::new());
    for (at, call) in said.syncs.iter().enumerate() {
        let mut reader = Reader::new(&said, call, &mut errors);
        let mut sync = SyncConfig::new(b"/", b"");
        sync.name = format!("Sync{}", at + 1);
        sync.max_delays = whole.max_delays.unwrap_or(MAX_DELAYS);
        sync.once = whole.once.then_some(if whole.insist { Once::Done } else { Once::Tried });
        reader.sync(&mut sync);
        sync.processes = sync.processes.min(whole.processes.unwrap_or(usize::MAX));
        syncs.push(sync);
        origins.push(reader.origin);
        words.push(reader.words);
    }
    if syncs.is_empty() && errors.is_empty() {
        let text = "nothing to watch: no sync { ... } was called".into();
        errors.push(ConfigError::new(&said.file, 0, text));
    }
    let mut config = Config::new(syncs);
    config.name = mirror_name(&said.file);
    config.status_file = process.status_file.clone();
    config.processes_max = whole.processes;
    if said.alarms || config.syncs.iter().any(|sync| sync.script) {
        config.script = Some(std::path::PathBuf::from(&said.file));
        config.modified = whole.modified;
    }
    if errors.is_empty()
        && let Err(text) = config.check()
    {
        errors.push(ConfigError::new(&said.file, 0, text));
    }
    match errors.is_empty() {
        true => Ok(ForeignConfig { config, origins, words, process, remarks, lines: said.lines }),
        false => Err(errors),
    }
}

/// Settings that concern syncs.
#[derive(Default)]
struct WholeSettings {
    max_delays: Option<usize>,
    once: bool,
    insist: bool,
    processes: Option<usize>,
    modified: ModifiedWhen,
}

/// Names without a value in the table of a call: mostly a string without its quotes.
fn undefined(said: &Evaluated, errors: &mut Vec<ConfigError>, remarks: &mut Vec<ConfigError>) {
    for call in said.settings.iter().chain(&said.syncs) {
        let text = said.texts.get(&call.file).map(String::as_str).unwrap_or_default();
        let entries = entries(text, call.line, call.function);
        for (name, file, line) in said.undefined.iter().filter(|u| u.1 == call.file) {
            let found = entries.iter().find(|e| e.line == *line && e.value == *name);
            let Some(entry) = found else { continue };
            if !entry.keyed {
                let text = format!("{name} has no value and no effect: write {name} = true");
                remarks.push(ConfigError::new(file, *line, text));
            } else if entry.key == "delete" {
                let text = format!(
                    "delete = {name}: {name} is a variable without a value, so everything extra at \
                     the target would be deleted; write delete = \"{name}\""
                );
                errors.push(ConfigError::new(file, *line, text));
            } else {
                let text = format!(
                    "{} = {name}: {name} is a variable without a value, so the key has no effect; \
                     write it in quotes if a text is meant",
                    entry.key
                );
                remarks.push(ConfigError::new(file, *line, text));
            }
        }
    }
}

/// Keys that a table has twice, of which Lua takes the last.
fn repeated(said: &Evaluated, remarks: &mut Vec<ConfigError>) {
    for call in said.settings.iter().chain(&said.syncs) {
        let text = said.texts.get(&call.file).map(String::as_str).unwrap_or_default();
        let all = entries(text, call.line, call.function);
        for (at, entry) in all.iter().enumerate().filter(|(_, entry)| entry.keyed) {
            if entry.key.ends_with('[') {
                // A key in brackets may be any.
                continue;
            }
            let rest = all.get(at + 1..).unwrap_or_default();
            if let Some(last) = rest.iter().rfind(|other| other.keyed && other.key == entry.key) {
                let text =
                    format!("{} is written again in line {}, which counts", entry.key, last.line);
                remarks.push(ConfigError::new(&call.file, entry.line, text));
            }
        }
    }
}

pub(super) struct Reader<'a> {
    pub(super) call: &'a LuaCall,
    pub(super) table: LuaTable,
    /// What the options were said in.
    pub(super) words: Vec<Vec<u8>>,
    places: Vec<LuaEntry>,
    origin: SyncOrigin,
    errors: &'a mut Vec<ConfigError>,
}

impl<'a> Reader<'a> {
    fn new(said: &Evaluated, call: &'a LuaCall, errors: &'a mut Vec<ConfigError>) -> Self {
        let text = said.texts.get(&call.file).map(String::as_str).unwrap_or_default();
        let places = entries(text, call.line, call.function);
        let mut origin = SyncOrigin::new(&call.file, call.line);
        for place in places.iter().filter(|place| place.keyed) {
            origin.add(&place.key, place.line, &place.value);
        }
        Reader {
            call,
            table: call.table.clone().inherit(),
            places,
            origin,
            errors,
            words: Vec::new(),
        }
    }

    fn line(&self, key: &str) -> usize {
        let place = self.places.iter().find(|place| place.key == key);
        place.map_or(self.call.line, |place| place.line)
    }

    pub(super) fn wrong(&mut self, key: &str, text: String) {
        let line = self.line(key);
        self.errors.push(ConfigError::new(&self.call.file, line, text));
    }

    pub(super) fn refused(&mut self, key: &str, text: String) {
        let line = self.line(key);
        self.errors.push(ConfigError::refused(&self.call.file, line, text));
    }

    /// Checks the names in a table; `outer` is its own name with a dot, or empty.
    pub(super) fn known(&mut self, table: &LuaTable, outer: &str, scope: &str, keys: Keys) {
        for name in table.named.keys().filter(|name| *name != "_layer") {
            let full = format!("{outer}{name}");
            match keys.iter().find(|(known, _)| known == name) {
                Some((_, KeySupport::Full)) => {}
                Some((_, KeySupport::Refused(why))) => {
                    self.refused(&full, format!("{full} is not done here: {why}"));
                }
                None => {
                    let all: Vec<&str> = keys.iter().map(|(known, _)| *known).collect();
                    self.unknown(&full, name, scope, &all);
                }
            }
        }
    }

    pub(super) fn unknown(&mut self, full: &str, name: &str, scope: &str, known: &[&str]) {
        let scoped = format!("{scope}.{name}");
        let former = FORMER.iter().find(|(old, _)| *old == full || *old == scoped);
        let hint = match (former, nearest_key(name, known)) {
            (Some((_, hint)), _) => (*hint).to_owned(),
            (None, Some(near)) => format!("did you mean {near}?"),
            (None, None) if known.len() > KNOWN_SHOWN => "lsyncd has no such key".into(),
            (None, None) => format!("known are {}", known.join(", ")),
        };
        self.wrong(full, format!("unknown key {name} in {scope}; {hint}"));
    }

    pub(super) fn number(&mut self, key: &str, max: f64) -> Option<f64> {
        let value = self.table.named.get(key)?.clone();
        match value {
            LuaData::Number(n) if (0.0..=max).contains(&n) => Some(n),
            LuaData::Text(text) => {
                let text = String::from_utf8_lossy(&text).into_owned();
                self.wrong(key, format!("{key} = \"{text}\": must be a number, without quotes"));
                None
            }
            LuaData::Number(n) => {
                self.wrong(key, format!("{key} = {n}: must be from 0 to {max}"));
                None
            }
            other => {
                self.wrong(key, format!("{key} must be a number, not {}", other.kind()));
                None
            }
        }
    }

    fn flag(&mut self, key: &str) -> Option<bool> {
        match self.table.named.get(key)?.clone() {
            LuaData::Bool(flag) => Some(flag),
            // Lua takes any number for true.
            LuaData::Number(_) => Some(true),
            other => {
                let text =
                    format!("{key} must be true or false without quotes, not {}", other.kind());
                self.wrong(key, text);
                None
            }
        }
    }

    fn text(&mut self, key: &str) -> Option<Vec<u8>> {
        let value = self.table.named.get(key)?;
        let (text, kind) = (value.text().filter(|text| !text.is_empty()), value.kind());
        if text.is_none() {
            self.wrong(key, format!("{key} must be a string, not {kind}"));
        }
        text
    }

    fn settings(&mut self, process: &mut ProcessSettings, whole: &mut WholeSettings) {
        // A name alone switches something on.
        for (_, item) in std::mem::take(&mut self.table.list) {
            if let Some(name) = item.text() {
                let name = String::from_utf8_lossy(&name).into_owned();
                self.table.named.insert(name, LuaData::Bool(true));
            }
        }
        let table = self.table.clone();
        self.known(&table, "", "settings", SETTINGS);
        process.log_file = self.text("logfile").or(process.log_file.take());
        process.pid_file = self.text("pidfile").or(process.pid_file.take());
        process.log_ident = self.text("logident").or(process.log_ident.take());
        self.facility();
        process.log_facility = self.text("logfacility").or(process.log_facility.take());
        process.foreground = self.flag("nodaemon").unwrap_or(process.foreground);
        // A start that fails is always tried again here, but for a single pass.
        whole.insist = self.flag("insist").unwrap_or(whole.insist);
        whole.once = self.flag("onepass").unwrap_or(whole.once);
        let interval_s = self.number("statusInterval", 1e9).map(|n| n as u64);
        if let Some(path) = self.text("statusFile") {
            process.status_file = Some(StatusFile { path, interval_s: STATUS_INTERVAL_S });
        }
        if let (Some(file), Some(interval_s)) = (&mut process.status_file, interval_s) {
            file.interval_s = interval_s;
        }
        whole.modified = self.inotify_mode().unwrap_or(whole.modified);
        whole.processes = self.processes().or(whole.processes);
        whole.max_delays = self.number("maxDelays", 1e9).map(|n| n as usize).or(whole.max_delays);
    }

    fn facility(&mut self) {
        let Some(word) = self.table.named.get("logfacility").and_then(LuaData::text) else {
            return;
        };
        if parse_value(ParamKind::Facility, &word).is_err() {
            let word = String::from_utf8_lossy(&word).into_owned();
            self.wrong(
                "logfacility",
                format!("logfacility = \"{word}\" is none of the system's log"),
            );
        }
    }

    /// Files are sent when they are closed, and also when they stay open and nothing is written any
    /// more, so every mode gets what it asks for; actions of one's own are told as it says.
    fn inotify_mode(&mut self) -> Option<ModifiedWhen> {
        let mode = self.text("inotifyMode")?;
        match mode.as_slice() {
            b"CloseWrite" => Some(ModifiedWhen::Closed),
            b"Modify" => Some(ModifiedWhen::Written),
            b"CloseWrite or Modify" => Some(ModifiedWhen::Either),
            other => {
                let text = format!(
                    "inotifyMode = \"{}\" is none; write \"CloseWrite\", \"Modify\" or \
                     \"CloseWrite or Modify\"",
                    String::from_utf8_lossy(other)
                );
                self.wrong("inotifyMode", text);
                None
            }
        }
    }

    /// How many processes are allowed, where that is said. One transfer at a time is within any
    /// number of them but none.
    pub(super) fn processes(&mut self) -> Option<usize> {
        let number = self.number("maxProcesses", 1e9)?;
        if number < 1.0 {
            self.wrong("maxProcesses", "maxProcesses = 0: nothing would ever be sent".into());
        }
        Some(number as usize)
    }

    fn sync(&mut self, sync: &mut SyncConfig) {
        let table = self.table.clone();
        let layer = match table.named.get("_layer") {
            Some(LuaData::Text(layer)) => String::from_utf8_lossy(layer).into_owned(),
            _ => String::new(),
        };
        if let Some(keys) = &self.call.script {
            return self.script(sync, &layer, keys);
        }
        self.known(&table, "", "sync", SYNC);
        for (_, item) in &table.list {
            let text = format!("{} without a name in sync is nothing", item.kind());
            self.wrong("", text);
        }
        if layer.is_empty() {
            let text = "this sync names no layer: begin it with default.rsync, default.rsyncssh or \
                        default.direct";
            return self.wrong("", text.into());
        }
        if let Some(source) = self.required("source") {
            let made = SyncConfig::new(&source, b"");
            (sync.source, sync.contents) = (made.source, true);
        }
        self.target(sync, &layer);
        self.delete(sync);
        sync.delay_ms = self.delay(&layer);
        if let Some(number) = self.number("maxDelays", 1e9) {
            sync.max_delays = number as usize;
        }
        sync.processes = self.processes().unwrap_or(1);
        match self.table.named.get("init") {
            Some(LuaData::Bool(first)) => sync.skip_first = !first,
            None => {}
            Some(_) => self.wrong("init", "init must be true, false or a function".into()),
        }
        self.exit_codes(sync, &layer);
        self.crontab(sync);
        sync.alone_above = self.number("batchSizeLimit", 1e18).map(|bytes| bytes as u64);
        self.options(sync, &layer);
        self.filters(sync);
    }

    /// Milliseconds that changes wait for more.
    pub(super) fn delay(&mut self, layer: &str) -> u64 {
        let usual = match layer {
            "" => 0.0,
            "direct" => 1.0,
            _ => 15.0,
        };
        (self.number("delay", DELAY_MAX_S).unwrap_or(usual) * 1000.0) as u64
    }

    pub(super) fn required(&mut self, key: &str) -> Option<Vec<u8>> {
        if !self.table.named.contains_key(key) {
            self.wrong("", format!("this sync has no {key}"));
        }
        self.text(key)
    }

    pub(super) fn target(&mut self, sync: &mut SyncConfig, layer: &str) {
        if layer == "rsyncssh" {
            if self.table.named.contains_key("target") {
                let text = "default.rsyncssh wants host and targetdir instead of target";
                self.wrong("target", text.into());
            }
            let (host, dir) = (self.required("host"), self.required("targetdir"));
            if let (Some(host), Some(dir)) = (host, dir) {
                sync.target = with_slash([host.as_slice(), b":", &dir].concat());
            }
            return;
        }
        for key in ["host", "targetdir"] {
            if !self.table.named.contains_key(key) {
                continue;
            }
            let text =
                format!("{key} belongs to default.rsyncssh; default.{layer} has target alone");
            self.wrong(key, text);
        }
        sync.target = with_slash(self.required("target").unwrap_or_default());
        let local = rsync::location::parse(&sync.target, &sync.options)
            .is_ok_and(|target| matches!(target, rsync::location::Location::Local(_)));
        if layer == "direct" && !local {
            self.wrong("target", "default.direct wants a local target".into());
        }
    }

    fn delete(&mut self, sync: &mut SyncConfig) {
        (sync.delete, sync.delete_only) = match self.table.named.get("delete") {
            None | Some(LuaData::Bool(true)) => (true, None),
            Some(LuaData::Bool(false)) => (false, None),
            Some(LuaData::Text(word)) if word == b"startup" => (true, Some(DeleteOnly::Whole)),
            Some(LuaData::Text(word)) if word == b"running" => (true, Some(DeleteOnly::Changes)),
            Some(other) => {
                let shown = other.text().map(|t| String::from_utf8_lossy(&t).into_owned());
                let text = format!(
                    "delete = {} means neither: write true, false, \"startup\" or \"running\"",
                    shown.map_or(other.kind().into(), |text| format!("\"{text}\""))
                );
                self.wrong("delete", text);
                (false, None)
            }
        };
    }

    /// Rules of `filter`, then of `exclude`: the first that matches decides.
    pub(super) fn filters(&mut self, sync: &mut SyncConfig) {
        let mut rules = Vec::new();
        for key in ["filterFrom", "filter", "excludeFrom", "exclude"] {
            let Some(value) = self.table.named.get(key) else { continue };
            let Some(texts) = value.texts() else {
                self.wrong(key, format!("{key} must be a string or a list of them"));
                continue;
            };
            let from_file = key.ends_with("From");
            let mut lines = Vec::new();
            for text in texts.into_iter().filter(|text| !text.is_empty()) {
                if !from_file {
                    lines.push(text);
                    continue;
                }
                match crate::config::options::read_rules(&text) {
                    Ok(content) => lines.extend(content.split(|&b| b == b'\n').map(<[u8]>::to_vec)),
                    Err(error) => self.wrong(key, format!("{key}: {error}")),
                }
            }
            for line in lines {
                let line = line.strip_suffix(b"\r").unwrap_or(&line).to_vec();
                match (key.starts_with("filter"), line.as_slice()) {
                    (true, [b'+' | b'-', b' ', ..]) => rules.push(FilterArg::Rule(line)),
                    (true, [] | [b'#', ..]) if from_file => {}
                    (true, _) => {
                        let shown = String::from_utf8_lossy(&line).into_owned();
                        let text = format!("the rule \"{shown}\" must begin with \"+ \" or \"- \"");
                        self.wrong(key, text);
                    }
                    (false, [] | [b'#' | b'+', ..]) if from_file => {}
                    (false, [b'-', b' ', rest @ ..]) if from_file => {
                        rules.push(FilterArg::Exclude(rest.to_vec()));
                    }
                    (false, _) => rules.push(FilterArg::Exclude(line)),
                }
            }
        }
        sync.options.filters.extend(rules);
    }
}

fn with_slash(mut target: Vec<u8>) -> Vec<u8> {
    if !matches!(target.last(), None | Some(b'/' | b':')) {
        target.push(b'/');
    }
    target
}

/// The nearest key, letters of either case alike.
fn nearest_key<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    let lower: Vec<String> = known.iter().map(|key| key.to_lowercase()).collect();
    let lower: Vec<&str> = lower.iter().map(String::as_str).collect();
    let near = nearest(name, &lower)?;
    known.iter().find(|key| key.to_lowercase() == near).copied()
}

/// Known keys that are listed where none is near.
const KNOWN_SHOWN: usize = 15;
/// Changes that end the delay early, where nothing is set.
const MAX_DELAYS: usize = 1000;
/// Seconds between two writings of the status file, where nothing is set.
const STATUS_INTERVAL_S: u64 = 10;
/// The longest delay: a month.
const DELAY_MAX_S: f64 = 2_592_000.0;
