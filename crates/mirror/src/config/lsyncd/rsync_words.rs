//! What stands in `rsync = { ... }` and `ssh = { ... }`, as words of rsync's command line.
//!
//! Called by `table` for each sync. The words are understood by rsync's own parser, so what an option
//! means, and whether it is done here, is decided in one place.

use wire::exit::ExitCode;

use super::keys::{RSYNC_SWITCHES, RSYNC_VALUES, SSH};
use super::table::Reader;
use super::value::{LuaData, LuaTable};
use crate::config::SyncConfig;
use crate::config::options::{BadWords, from_options};

impl Reader<'_> {
    /// Sets the options of a sync.
    pub(super) fn options(&mut self, sync: &mut SyncConfig, layer: &str) {
        let table = match self.table.named.get("rsync") {
            Some(LuaData::Table(table)) => table.clone(),
            None => LuaTable::default(),
            Some(other) => {
                let text =
                    format!("rsync must be a table: rsync = {{ ... }}, not {}", other.kind());
                return self.wrong("rsync", text);
            }
        };
        let given = table.named.iter().filter_map(|(key, value)| self.words(key, value));
        let mut words: Vec<Vec<u8>> = Vec::new();
        for (key, some) in given.collect::<Vec<_>>() {
            // Each by itself first, so that a mistake is told with its own line.
            match from_options(&some) {
                Ok(_) => words.extend(some),
                Err(bad) => self.bad_words(&format!("rsync.{key}"), &key, &bad),
            }
        }
        let extra = table.named.get("_extra").and_then(LuaData::texts).unwrap_or_default();
        if extra.iter().any(|word| word == b"--delete") {
            (sync.delete, sync.delete_only) = (true, None);
        }
        let on = |key: &str| table.named.get(key).map(|value| *value == LuaData::Bool(true));
        let archive = on("archive") == Some(true);
        let copied = layer == "direct" && table.named.is_empty();
        for (key, letter, usual) in [
            ("links", "-l", true),
            ("times", "-t", true),
            ("protect_args", "-s", true),
            ("perms", "-p", copied),
            ("owner", "-o", copied),
            ("group", "-g", copied),
        ] {
            let by_archive = archive && key != "protect_args";
            if on(key).is_none() && (usual || by_archive) {
                words.push(letter.as_bytes().to_vec());
            }
        }
        if archive {
            words.push(b"-D".to_vec());
        }
        words.extend(self.shell(layer, &table));
        self.words = words;
        match from_options(&self.words) {
            Ok((options, stray)) => {
                let timeout_s = match options.timeout_s {
                    0 => sync.options.timeout_s,
                    given => given,
                };
                sync.options = rsync::options::Options { timeout_s, ..options };
                if let Some(word) = stray.first() {
                    let word = String::from_utf8_lossy(word).into_owned();
                    self.wrong("rsync._extra", format!("_extra: \"{word}\" is no option"));
                }
            }
            Err(bad) => self.bad_words("rsync", "rsync", &bad),
        }
    }

    fn bad_words(&mut self, place: &str, key: &str, bad: &BadWords) {
        let first = bad.text.lines().next().unwrap_or_default();
        let mut text = format!("{key} in rsync: {}", first.trim_start_matches("rsync: "));
        if first.contains("--password=") {
            text.push_str(
                ", and everybody on this machine could read it in the list of processes; write \
                 the password into a file of mode 600 and name it in password_file",
            );
        }
        match bad.exit {
            ExitCode::Unsupported => self.refused(place, text),
            _ => self.wrong(place, text),
        }
    }

    /// The words of one key of `rsync = { ... }`.
    fn words(&mut self, key: &str, value: &LuaData) -> Option<(String, Vec<Vec<u8>>)> {
        let full = format!("rsync.{key}");
        let named = |words| Some((key.to_owned(), words));
        if let Some((_, word)) = RSYNC_SWITCHES.iter().find(|(known, _)| *known == key) {
            return match value {
                LuaData::Bool(true) | LuaData::Number(_) => named(vec![word.as_bytes().to_vec()]),
                LuaData::Bool(false) => None,
                other => {
                    let text =
                        format!("{key} in rsync must be true or false, not {}", other.kind());
                    self.wrong(&full, text);
                    None
                }
            };
        }
        if let Some((_, option)) = RSYNC_VALUES.iter().find(|(known, _)| *known == key) {
            let Some(text) = value.text().filter(|text| !text.is_empty()) else {
                self.wrong(&full, format!("{key} in rsync must be a string or a number"));
                return None;
            };
            return named(vec![[option.as_bytes(), b"=", &text].concat()]);
        }
        match key {
            "archive" => {
                if !matches!(value, LuaData::Bool(_)) {
                    self.wrong(&full, "archive in rsync must be true or false".into());
                }
                None
            }
            "binary" => {
                let text = value.text().unwrap_or_default();
                // One of another name makes a sync with an action of its own: to run that.
                if text.is_empty() {
                    self.wrong(&full, "binary in rsync must be a string".into());
                }
                None
            }
            "_extra" => match value.texts() {
                // This switches on what `delete` is for, whatever that says.
                Some(words) => named(words.into_iter().filter(|w| w != b"--delete").collect()),
                None => {
                    self.wrong(&full, "_extra in rsync must be a list of strings".into());
                    None
                }
            },
            _ => {
                let switches = RSYNC_SWITCHES.iter().map(|(known, _)| *known);
                let values = RSYNC_VALUES.iter().map(|(known, _)| *known);
                let known: Vec<&str> =
                    switches.chain(values).chain(["archive", "binary", "_extra"]).collect();
                self.unknown(&full, key, "rsync", &known);
                None
            }
        }
    }

    /// `ssh = { ... }` as the remote shell's command.
    fn shell(&mut self, layer: &str, rsync: &LuaTable) -> Option<Vec<u8>> {
        let ssh = match self.table.named.get("ssh")?.clone() {
            LuaData::Table(table) if layer == "rsyncssh" => table,
            LuaData::Table(_) => {
                let text =
                    format!("ssh belongs to default.rsyncssh; default.{layer} has rsync.rsh");
                self.wrong("ssh", text);
                return None;
            }
            other => {
                let text = format!("ssh must be a table: ssh = {{ ... }}, not {}", other.kind());
                self.wrong("ssh", text);
                return None;
            }
        };
        self.known(&ssh, "ssh.", "ssh", SSH);
        // Beside rsync.rsh the table counts when it says how to connect.
        let connects = ["port", "identityFile", "options"].map(|key| ssh.named.contains_key(key));
        if rsync.named.contains_key("rsh") && connects == [false; 3] {
            return None;
        }
        let text = |key: &str| ssh.named.get(key).and_then(LuaData::text);
        let mut words = vec![text("binary").unwrap_or(b"ssh".to_vec())];
        if let Some(port) = text("port") {
            words.extend([b"-p".to_vec(), port]);
        }
        if let Some(file) = text("identityFile") {
            words.extend([b"-i".to_vec(), file]);
        }
        if let Some(LuaData::Table(options)) = ssh.named.get("options") {
            for (key, value) in &options.named {
                let value = value.text().unwrap_or_default();
                words.extend([b"-o".to_vec(), [key.as_bytes(), b"=", &value].concat()]);
            }
        }
        words.extend(ssh.named.get("_extra").and_then(LuaData::texts).unwrap_or_default());
        let quoted: Vec<Vec<u8>> = words.iter().map(|word| quoted(word)).collect();
        Some([b"--rsh=".as_slice(), &quoted.join(&b' ')].concat())
    }
}

/// A word of the remote shell's command, in quotes if it has blanks or quotes itself.
fn quoted(word: &[u8]) -> Vec<u8> {
    if !word.iter().any(|b| b" \t'\"".contains(b)) {
        return word.to_vec();
    }
    let inner: Vec<u8> =
        word.iter().flat_map(|&b| if b == b'\'' { b"''".to_vec() } else { vec![b] }).collect();
    [b"'".as_slice(), &inner, b"'"].concat()
}
