//! What a sync makes of exit codes and of the clock: `exitcodes`, `rsyncExitCodes`, `sshExitCodes`
//! and `crontab`.
//!
//! Called by `table` for each sync. As in lsyncd, a code counts as `ok`, `again` or `die`. One that
//! is in no table is tried again here, where lsyncd ends. No program is run for a transfer, so the
//! codes are those of our own; of `sshExitCodes` the one that ssh itself ends with holds.

use super::table::Reader;
use super::value::LuaData;
use crate::config::crontab::Crontab;
use crate::config::{ExitRule, SyncConfig};

/// What ssh ends with when it fails itself.
const SSH_FAILED: i32 = 255;

impl Reader<'_> {
    /// Sets what exit codes count as.
    pub(super) fn exit_codes(&mut self, sync: &mut SyncConfig, layer: &str) {
        for key in ["sshExitCodes", "exitcodes", "rsyncExitCodes"] {
            let Some(value) = self.table.named.get(key).cloned() else { continue };
            let fits = match key {
                "exitcodes" => true,
                "rsyncExitCodes" => layer != "rsync",
                _ => layer == "rsyncssh",
            };
            if !fits {
                let text = format!("{key} is no key of default.{layer}");
                self.wrong(key, text);
                continue;
            }
            let LuaData::Table(table) = value else {
                self.wrong(key, format!("{key} must be a table, not {}", value.kind()));
                continue;
            };
            for (code, word) in &table.list {
                let rule = match word.text().unwrap_or_default().as_slice() {
                    b"ok" => ExitRule::Good,
                    b"again" => ExitRule::Again,
                    b"die" => ExitRule::Die,
                    _ => {
                        let text = format!("{key}: [{code}] must be 'ok', 'again' or 'die'");
                        self.wrong(key, text);
                        continue;
                    }
                };
                let Ok(code) = i32::try_from(*code) else { continue };
                if key != "sshExitCodes" || code == SSH_FAILED {
                    sync.exits.insert(code, rule);
                }
            }
            let words = table.named.keys().filter(|name| !name.starts_with('_'));
            for name in words.cloned().collect::<Vec<_>>() {
                self.wrong(key, format!("{key}: {name} is no exit code"));
            }
        }
    }

    /// Sets the times at which everything is compared.
    pub(super) fn crontab(&mut self, sync: &mut SyncConfig) {
        let Some(value) = self.table.named.get("crontab") else { return };
        let Some(lines) = value.texts() else {
            return self.wrong("crontab", "crontab must be a list of strings".into());
        };
        for line in lines {
            let line = String::from_utf8_lossy(&line).into_owned();
            match Crontab::parse(&line) {
                Ok(plan) => sync.crontab.push(plan),
                Err(error) => self.wrong("crontab", format!("crontab: \"{line}\": {error}")),
            }
        }
    }
}
