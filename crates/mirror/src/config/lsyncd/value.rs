//! What a configuration program hands over, as plain values without ties to the program.

use std::collections::BTreeMap;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum LuaData {
    Bool(bool),
    Number(f64),
    Text(Vec<u8>),
    Table(LuaTable),
    /// A function, or anything else that is no data.
    Other(&'static str),
}

/// A table: what has a name, and the rest with its numbers, in their order.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct LuaTable {
    pub(super) named: BTreeMap<String, LuaData>,
    pub(super) list: Vec<(i64, LuaData)>,
}

/// A call of `settings` or `sync`.
#[derive(Clone, Debug)]
pub(super) struct LuaCall {
    /// `settings` or `sync`.
    pub(super) function: &'static str,
    pub(super) file: String,
    pub(super) line: usize,
    pub(super) table: LuaTable,
    /// It has actions of its own.
    pub(super) script: Option<ScriptKeys>,
}

/// How the keys of a sync with actions of its own are judged.
#[derive(Clone, Debug)]
pub(super) struct ScriptKeys {
    /// They are; else the program does it.
    pub(super) checked: bool,
    /// Those that are right beside the usual.
    pub(super) names: Vec<String>,
}

/// What a program did.
#[derive(Clone, Debug, Default)]
pub(super) struct Evaluated {
    /// The file that was named.
    pub(super) file: String,
    pub(super) settings: Vec<LuaCall>,
    pub(super) syncs: Vec<LuaCall>,
    /// It has set alarms, which need it to be kept.
    pub(super) alarms: bool,
    /// What it logged: category and line.
    pub(super) lines: Vec<(String, String)>,
    /// Globals that were read and never set: name, file, line.
    pub(super) undefined: Vec<(String, String, usize)>,
    /// The texts of the files that calls stand in.
    pub(super) texts: BTreeMap<String, String>,
}

impl LuaData {
    /// What it is called in messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            LuaData::Bool(_) => "a boolean",
            LuaData::Number(_) => "a number",
            LuaData::Text(_) => "a string",
            LuaData::Table(_) => "a table",
            LuaData::Other(kind) => kind,
        }
    }

    /// A string, or a number as Lua writes it into one.
    pub(super) fn text(&self) -> Option<Vec<u8>> {
        match self {
            LuaData::Text(text) => Some(text.clone()),
            LuaData::Number(n) => Some(n.to_string().into_bytes()),
            _ => None,
        }
    }

    /// A string, or all strings of a list.
    pub(super) fn texts(&self) -> Option<Vec<Vec<u8>>> {
        match self {
            LuaData::Table(table) if table.named.is_empty() => {
                table.list.iter().map(|(_, one)| one.text()).collect()
            }
            one => one.text().map(|text| vec![text]),
        }
    }
}

impl LuaTable {
    /// Takes in the tables without a name, those in them too: what is there already stays.
    pub(super) fn inherit(mut self) -> LuaTable {
        for item in std::mem::take(&mut self.list) {
            match item {
                (_, LuaData::Table(base)) => self.take_in(base.inherit()),
                other => self.list.push(other),
            }
        }
        self
    }

    fn take_in(&mut self, base: LuaTable) {
        self.list.extend(base.list);
        for (key, value) in base.named {
            match (self.named.get_mut(&key), value) {
                (None, value) => {
                    self.named.insert(key, value);
                }
                (Some(LuaData::Table(own)), LuaData::Table(base)) if own.list.is_empty() => {
                    own.take_in(LuaTable { named: base.named, list: Vec::new() });
                }
                _ => {}
            }
        }
    }
}
