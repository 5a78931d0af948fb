//! A sync with actions of its own, as far as it is data: source, target, delay, and what a layer
//! needs that its functions call.
//!
//! Called by `table`; the functions themselves are `crate::script`'s.

use super::keys::{KeySupport, SYNC};
use super::table::Reader;
use super::value::{LuaCall, LuaData, LuaTable, ScriptKeys};
use crate::config::SyncConfig;

/// Keys that only a layer knows.
const LAYER_KEYS: &[&str] = &[
    "host",
    "targetdir",
    "delete",
    "exclude",
    "excludeFrom",
    "filter",
    "filterFrom",
    "rsync",
    "ssh",
    "batchSizeLimit",
    "rsyncExitCodes",
    "sshExitCodes",
];

/// The program that a sync transfers with, empty for our own.
pub(super) fn binary(call: &LuaCall) -> Vec<u8> {
    let table = call.table.clone().inherit();
    let Some(LuaData::Table(rsync)) = table.named.get("rsync") else { return Vec::new() };
    let named = rsync.named.get("binary").and_then(LuaData::text).unwrap_or_default();
    match named.rsplit(|&b| b == b'/').next() {
        Some(b"rsync") => Vec::new(),
        _ => named,
    }
}

impl Reader<'_> {
    /// Reads what is data of a sync with actions of its own.
    pub(super) fn script(&mut self, sync: &mut SyncConfig, layer: &str, keys: &ScriptKeys) {
        sync.script = true;
        let table = self.table.clone();
        self.script_keys(&table, layer, keys);
        if let Some(source) = self.required("source") {
            let made = SyncConfig::new(&source, b"");
            (sync.source, sync.contents) = (made.source, true);
        }
        sync.delay_ms = self.delay(layer);
        if let Some(number) = self.number("maxDelays", 1e9) {
            sync.max_delays = number as usize;
        }
        sync.processes = self.processes().unwrap_or(1);
        if layer.is_empty() {
            sync.target =
                self.table.named.get("target").and_then(LuaData::text).unwrap_or_default();
        } else {
            if !table.named.contains_key("host") || layer == "rsyncssh" {
                self.target(sync, layer);
            } else {
                sync.target = self.required("target").unwrap_or_default();
            }
            self.options(sync, layer);
        }
        // The functions of the layer read it.
        self.number("batchSizeLimit", 1e18);
        self.exit_codes(sync, if layer.is_empty() { "own" } else { layer });
        self.crontab(sync);
        self.filters(sync);
    }

    fn script_keys(&mut self, table: &LuaTable, layer: &str, keys: &ScriptKeys) {
        let all = SYNC.iter().map(|(name, _)| *name);
        let usual = all.filter(|name| !layer.is_empty() || !LAYER_KEYS.contains(name));
        let known: Vec<&str> = usual.chain(keys.names.iter().map(String::as_str)).collect();
        for name in table.named.keys().filter(|name| *name != "_layer") {
            let refused = SYNC.iter().find(|(known, _)| known == name);
            if let Some((_, KeySupport::Refused(why))) = refused {
                self.refused(name, format!("{name} is not done here: {why}"));
            } else if keys.checked && !known.contains(&name.as_str()) {
                self.unknown(name, name, "sync", &known);
            }
        }
    }
}
