//! `-log` of `livemirror lsyncd`: which kinds of lines are written.
//!
//! Called by `lsyncd_door`. Its kinds are lsyncd's categories; a configuration has others of its
//! own, which `log("Name", ...)` writes.

use std::collections::BTreeSet;

use mirror::config::{Config, Trace};

use crate::lsyncd_door::Shut;

/// The kinds of lines that are wanted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lines {
    level: Level,
    more: BTreeSet<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Level {
    Scarce,
    #[default]
    Usual,
    All,
}

/// Categories of lsyncd about what happens inside it.
const FOREIGN: &[&str] = &[
    "Function",
    "Call",
    "Alarm",
    "Masterloop",
    "Statusfile",
    "Filter",
    "Exclude",
    "FWrite",
    "Tunnel",
    "Fsevents",
];

impl Lines {
    /// Takes in one `-log`. The last of `all` and `scarce` counts, and none that is named counts
    /// beside `scarce`.
    pub(crate) fn want(&mut self, word: &[u8]) -> Result<(), Shut> {
        match word {
            b"all" => self.level = Level::All,
            b"scarce" => self.level = Level::Scarce,
            [b'A'..=b'Z', ..] => {
                self.more.insert(String::from_utf8_lossy(word).into_owned());
            }
            other => {
                let other = String::from_utf8_lossy(other);
                return Err(Shut::Wrong(format!("'{other}' is not a valid logging category")));
            }
        }
        Ok(())
    }

    /// Whether lines of this kind are written.
    pub(crate) fn has(&self, category: &str) -> bool {
        match (self.level, category) {
            (Level::All, _) | (_, "Warn" | "Error") => true,
            (Level::Scarce, _) => false,
            (Level::Usual, _) => category == "Normal" || self.more.contains(category),
        }
    }

    /// What has to be told from inside.
    pub(crate) fn trace(&self) -> Trace {
        Trace { exec: self.has("Exec"), inotify: self.has("Inotify"), delay: self.has("Delay") }
    }

    /// A line for each kind that was asked for by name and that nothing here belongs to.
    pub(crate) fn without_use(&self, config: &Config) -> Vec<String> {
        let own = config.syncs.iter().any(|sync| sync.script);
        let line = |name: &String| {
            if FOREIGN.contains(&name.as_str()) {
                return Some(format!("-log {name}: no line of livemirror is of this kind"));
            }
            let of_actions = ["Exec", "Delay"].contains(&name.as_str()) && !own;
            of_actions.then(|| {
                format!("-log {name}: tells of actions of one's own, and no sync here has any")
            })
        };
        self.more.iter().filter_map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_written() {
        // A failure would hide errors, or fill the log of those who asked for few lines.
        let told = |words: &[&str]| -> Vec<&str> {
            let mut lines = Lines::default();
            words.iter().for_each(|word| assert!(lines.want(word.as_bytes()).is_ok(), "{word}"));
            ["Error", "Warn", "Normal", "Exec", "Mine"]
                .into_iter()
                .filter(|kind| lines.has(kind))
                .collect()
        };
        assert_eq!(told(&[]), ["Error", "Warn", "Normal"]);
        assert_eq!(told(&["Exec"]), ["Error", "Warn", "Normal", "Exec"]);
        assert_eq!(told(&["scarce", "Exec", "Normal"]), ["Error", "Warn"]);
        assert_eq!(told(&["all", "scarce"]), ["Error", "Warn"]);
        assert_eq!(told(&["scarce", "all"]).len(), 5);
        assert!(Lines::default().want(b"exec").is_err() && Lines::default().want(b"").is_err());
    }
}
