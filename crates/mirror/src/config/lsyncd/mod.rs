//! lsyncd's configuration: a Lua program, run once when it is loaded.
//!
//! Called by `livemirror lsyncd` and `run`, and by `check`. Steps: `eval` runs the program with the
//! functions that it may call and keeps what it hands to `settings` and `sync`; `places` finds where
//! each key of it stands; `table` applies inheritance and makes a sync of each table by the rows of
//! `keys`, with `rsync_words` for what is said to rsync. What is unknown there is a mistake, what is known and not done here is refused, both with
//! file and line; all of them are told together.

#[cfg(feature = "lua")]
mod eval;
#[cfg(feature = "lua")]
mod habits;
#[cfg(feature = "lua")]
pub mod keys;
#[cfg(feature = "lua")]
mod places;
#[cfg(feature = "lua")]
mod rsync_words;
#[cfg(feature = "lua")]
mod scripted;
#[cfg(feature = "lua")]
mod table;
#[cfg(feature = "lua")]
mod value;

use std::path::Path;

use super::foreign::ForeignConfig;
use super::toml::ConfigError;

/// Loads a file. Errors: all that was found.
pub fn load(path: &Path) -> Result<ForeignConfig, Vec<ConfigError>> {
    evaluated(Source::File(path))
}

/// Loads a text, such as one made of a command line; `name` stands for a file in messages.
pub fn load_text(name: &str, text: &str) -> Result<ForeignConfig, Vec<ConfigError>> {
    evaluated(Source::Text { name, text })
}

/// A program that was run and is kept for the actions in it.
#[cfg(feature = "lua")]
pub struct Hosted {
    /// The state of Lua.
    pub lua: mlua::Lua,
    /// Where the functions belong that the runtime calls.
    pub core: mlua::Table,
    /// What `runtime.lua` gives.
    pub runtime: mlua::Table,
    /// For each sync the program to transfer with, empty for our own, and its options.
    pub words: Vec<Vec<Vec<u8>>>,
}

/// Runs a program on this thread and keeps it. Errors: all that was found.
#[cfg(feature = "lua")]
pub fn host(path: &Path) -> Result<Hosted, Vec<ConfigError>> {
    let eval::Ran { lua, core, runtime, said } = eval::keep(path)?;
    let binary = |call: &value::LuaCall| scripted::binary(call);
    let binaries: Vec<Vec<u8>> = said.syncs.iter().map(binary).collect();
    let loaded = table::assemble(said)?;
    let words = binaries.into_iter().zip(loaded.words);
    let words = words.map(|(binary, rest)| [vec![binary], rest].concat()).collect();
    Ok(Hosted { lua, core, runtime, words })
}

/// Where a program comes from.
#[derive(Clone, Copy)]
#[cfg_attr(not(feature = "lua"), allow(dead_code, reason = "without Lua nothing reads a text"))]
enum Source<'a> {
    File(&'a Path),
    Text { name: &'a str, text: &'a str },
}

#[cfg(feature = "lua")]
fn evaluated(source: Source<'_>) -> Result<ForeignConfig, Vec<ConfigError>> {
    table::assemble(eval::run(source)?)
}

#[cfg(not(feature = "lua"))]
fn evaluated(source: Source<'_>) -> Result<ForeignConfig, Vec<ConfigError>> {
    let name = match source {
        Source::File(path) => path.display().to_string(),
        Source::Text { name, .. } => name.to_owned(),
    };
    let text = "this build has no Lua, which configurations of lsyncd are written in";
    Err(vec![ConfigError::refused(&name, 0, text.into())])
}

#[cfg(feature = "lua")]
#[cfg(test)]
#[path = "lsyncd_tests.rs"]
mod tests;
