//! Runs a configuration program in Lua and keeps what it says.
//!
//! Called by `load`. The program runs once, on a thread of its own, with bounds of memory and time;
//! it may use all of Lua's library but `debug` and C modules, since whoever may write it may run
//! programs anyway. A sync with actions of its own is told from others here, by `script/runtime.lua`;
//! [`keep`] runs the program once more for those.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use mlua::{Function, HookTriggers, Lua, MultiValue, Table, Value, VmState};

use super::Source;
use super::value::{Evaluated, LuaCall, LuaData, LuaTable, ScriptKeys};
use crate::config::toml::ConfigError;

/// What the program has said so far.
#[derive(Default)]
struct Heard {
    evaluated: Evaluated,
    errors: Vec<ConfigError>,
}

type Ear = Rc<RefCell<Heard>>;

/// Runs a program.
pub(super) fn run(source: Source<'_>) -> Result<Evaluated, Vec<ConfigError>> {
    let (name, text) = match source {
        Source::Text { name, text } => (name.to_owned(), text.as_bytes().to_vec()),
        Source::File(path) => {
            let name = path.display().to_string();
            let text = crate::config::file::read(path)
                .map_err(|e| vec![ConfigError::new(&name, 0, format!("cannot be read: {e}"))])?;
            (name, text)
        }
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("configuration".into());
        let started = thread.spawn_scoped(scope, || evaluate(&name, &text));
        let failed = |what: String| vec![ConfigError::new(&name, 0, what)];
        match started.map(std::thread::ScopedJoinHandle::join) {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(failed("the reader of this file failed".into())),
            Err(error) => Err(failed(error.to_string())),
        }
    })
}

fn evaluate(name: &str, text: &[u8]) -> Result<Evaluated, Vec<ConfigError>> {
    let ear: Ear = Rc::default();
    ear.borrow_mut().evaluated.file = name.to_owned();
    let shown = String::from_utf8_lossy(text).into_owned();
    ear.borrow_mut().evaluated.texts.insert(name.to_owned(), shown);
    // Such files come from anywhere: a mark of byte order and a first line for a shell are dropped.
    let code = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let done = execute(name, code, &ear);
    let mut heard = std::mem::take(&mut *ear.borrow_mut());
    if let Err(error) = done
        && heard.errors.is_empty()
    {
        heard.errors.push(located(name, &error));
    }
    if heard.errors.is_empty() { Ok(heard.evaluated) } else { Err(heard.errors) }
}

/// A program that is kept after it has run: what it said, and how to reach its functions.
pub(super) struct Ran {
    /// The state of Lua.
    pub(super) lua: Lua,
    /// Where the functions belong that the runtime calls.
    pub(super) core: Table,
    /// What `runtime.lua` gives.
    pub(super) runtime: Table,
    /// What it said.
    pub(super) said: Evaluated,
}

/// Runs the program of a file on this thread, and keeps it.
pub(super) fn keep(path: &Path) -> Result<Ran, Vec<ConfigError>> {
    let name = path.display().to_string();
    let wrong = |text: String| vec![ConfigError::new(&name, 0, text)];
    let text =
        crate::config::file::read(path).map_err(|e| wrong(format!("cannot be read: {e}")))?;
    let ear: Ear = Rc::default();
    ear.borrow_mut().evaluated.file = name.clone();
    let shown = String::from_utf8_lossy(&text).into_owned();
    ear.borrow_mut().evaluated.texts.insert(name.clone(), shown);
    let code = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&text);
    match execute(&name, code, &ear) {
        Ok((lua, core, runtime)) => {
            lua.remove_hook();
            let said = std::mem::take(&mut ear.borrow_mut().evaluated);
            Ok(Ran { lua, core, runtime, said })
        }
        Err(error) => {
            let errors = std::mem::take(&mut ear.borrow_mut().errors);
            Err(if errors.is_empty() { vec![located(&name, &error)] } else { errors })
        }
    }
}

fn execute(name: &str, code: &[u8], ear: &Ear) -> mlua::Result<(Lua, Table, Table)> {
    let lua = Lua::new();
    lua.set_memory_limit(MEMORY_MAX)?;
    let until = Instant::now() + TIME_MAX;
    lua.set_hook(
        HookTriggers::new().every_nth_instruction(100_000),
        move |_, _| match Instant::now() > until {
            true => Err(mlua::Error::runtime("the program does not come to an end")),
            false => Ok(VmState::Continue),
        },
    )?;
    let globals = lua.globals();
    former_names(&lua)?;
    helpers(&lua, ear)?;
    let settings = settings(&lua, ear)?;
    globals.set("settings", &settings)?;
    globals.set("default", defaults(&lua)?)?;
    let core = lua.create_table()?;
    let heard = Rc::clone(ear);
    let log = lua.create_function(move |_, (category, text): (String, String)| {
        heard.borrow_mut().evaluated.lines.push((category, text));
        Ok(())
    })?;
    core.set("log", log)?;
    let runtime = lua.load(RUNTIME).set_name("@runtime").call::<Table>(&core)?;
    globals.set("sync", sync(&lua, &runtime, ear)?)?;
    for (refused, why) in REFUSED {
        let heard = Rc::clone(ear);
        let call = lua.create_function(move |lua, _: MultiValue| -> mlua::Result<()> {
            Err(refuse(lua, &heard, format!("{refused}(...) is not done here: {why}")))
        })?;
        globals.set(*refused, call)?;
    }
    watch_globals(&lua, ear)?;
    let path = format!("@{name}");
    let os: Table = globals.raw_get("os")?;
    // What runs later, while files change, ends the program itself.
    let exit: Function = os.raw_get("exit")?;
    os.raw_set("exit", ending(&lua, ear, "os.exit")?)?;
    lua.load(code).set_name(path).set_mode(mlua::chunk::ChunkMode::Text).exec()?;
    os.raw_set("exit", exit)?;
    ear.borrow_mut().evaluated.alarms = runtime.get::<Function>("rings")?.call(())?;
    let after: Value = globals.raw_get("settings")?;
    if after.to_pointer() != Value::Table(settings).to_pointer() {
        let line = assignment(&ear.borrow().evaluated, name);
        let text = "settings = { ... } is the form before version 2.1: write settings { ... }, \
                    without the sign";
        ear.borrow_mut().errors.push(ConfigError::new(name, line, text.into()));
    }
    Ok((lua, core, runtime))
}

/// The line of `settings =`.
fn assignment(evaluated: &Evaluated, name: &str) -> usize {
    let text = evaluated.texts.get(name).map(String::as_str).unwrap_or_default();
    let is_it = |line: &str| {
        let rest = line.trim_start().strip_prefix("settings").map(str::trim_start);
        rest.is_some_and(|rest| rest.starts_with('=') && !rest.starts_with("=="))
    };
    text.lines().position(is_it).map_or(0, |at| at + 1)
}

/// The file and line of the Lua code that is calling.
fn caller(lua: &Lua, ear: &Ear) -> (String, usize) {
    for level in 1..8 {
        let here = lua.inspect_stack(level, |debug| {
            let file = debug.source().source.map(|s| s.into_owned());
            (file, debug.current_line())
        });
        match here {
            Some((Some(file), Some(line))) if file.starts_with('@') => {
                return (file.trim_start_matches('@').to_owned(), line);
            }
            Some(_) => {}
            None => break,
        }
    }
    (ear.borrow().evaluated.file.clone(), 0)
}

fn refuse(lua: &Lua, ear: &Ear, text: String) -> mlua::Error {
    let (file, line) = caller(lua, ear);
    ear.borrow_mut().errors.push(ConfigError::refused(&file, line, text.clone()));
    mlua::Error::runtime(text)
}

fn mistake(lua: &Lua, ear: &Ear, text: String) -> mlua::Error {
    let (file, line) = caller(lua, ear);
    ear.borrow_mut().errors.push(ConfigError::new(&file, line, text.clone()));
    mlua::Error::runtime(text)
}

/// The object that is called with a table of settings, and with a name to read one.
fn settings(lua: &Lua, ear: &Ear) -> mlua::Result<Table> {
    let object = lua.create_table()?;
    let meta = lua.create_table()?;
    let known = lua.create_table()?;
    let (heard, kept) = (Rc::clone(ear), known.clone());
    let call = lua.create_function(move |lua, (_, given): (Table, Value)| match given {
        Value::Table(table) => {
            for pair in table.pairs::<Value, Value>() {
                let (key, value) = pair?;
                kept.set(key, value)?;
            }
            let call = called(lua, &heard, "settings", &table)?;
            heard.borrow_mut().evaluated.settings.push(call);
            Ok(Value::Nil)
        }
        key => kept.get(key),
    })?;
    meta.set("__call", call)?;
    let heard = Rc::clone(ear);
    let write =
        lua.create_function(move |lua, (_, key, _): (Table, Value, Value)| -> mlua::Result<()> {
            let key = key.to_string().unwrap_or_default();
            let text =
                format!("settings.{key} = ... is an old form: write settings {{ {key} = ... }}");
            Err(mistake(lua, &heard, text))
        })?;
    meta.set("__newindex", write)?;
    meta.set("__index", known)?;
    object.set_metatable(Some(meta))?;
    Ok(object)
}

fn sync(lua: &Lua, runtime: &Table, ear: &Ear) -> mlua::Result<Function> {
    let heard = Rc::clone(ear);
    let adopt: Function = runtime.get("adopt")?;
    let enlist: Function = runtime.get("enlist")?;
    lua.create_function(move |lua, given: Value| {
        let Value::Table(table) = given else {
            let text =
                "sync wants a table: write sync { default.rsync, source = ..., target = ... }";
            return Err(mistake(lua, &heard, text.into()));
        };
        let adopted = adopt.call::<(Option<Table>, Option<bool>, Option<Vec<String>>)>(&table);
        let (own, checked, names) = match adopted {
            Ok(adopted) => adopted,
            Err(error) => {
                let text = located("", &error).text;
                return Err(mistake(lua, &heard, text));
            }
        };
        let mut call = called(lua, &heard, "sync", own.as_ref().unwrap_or(&table))?;
        call.script = own.as_ref().map(|_| ScriptKeys {
            checked: checked.unwrap_or(false),
            names: names.unwrap_or_default(),
        });
        heard.borrow_mut().evaluated.syncs.push(call);
        enlist.call::<Table>(own)
    })
}

fn called(lua: &Lua, ear: &Ear, function: &'static str, table: &Table) -> mlua::Result<LuaCall> {
    let (file, line) = caller(lua, ear);
    let fresh = !ear.borrow().evaluated.texts.contains_key(&file);
    if fresh && let Ok(text) = crate::config::file::read(Path::new(&file)) {
        let text = String::from_utf8_lossy(&text).into_owned();
        ear.borrow_mut().evaluated.texts.insert(file.clone(), text);
    }
    Ok(LuaCall { function, file, line, table: plain_table(table, 0)?, script: None })
}

fn plain_table(table: &Table, depth: usize) -> mlua::Result<LuaTable> {
    if depth > DEPTH_MAX {
        return Err(mlua::Error::runtime("tables are nested too deep, or hold themselves"));
    }
    let mut plain = LuaTable::default();
    let mut numbered: Vec<(i64, LuaData)> = Vec::new();
    for pair in table.pairs::<Value, Value>() {
        let (key, value) = pair?;
        let data = match value {
            Value::Boolean(flag) => LuaData::Bool(flag),
            Value::Integer(n) => LuaData::Number(n as f64),
            Value::Number(n) => LuaData::Number(n),
            Value::String(text) => LuaData::Text(text.as_bytes().to_vec()),
            Value::Table(inner) => LuaData::Table(plain_table(&inner, depth + 1)?),
            Value::Function(_) => LuaData::Other("a function"),
            _ => LuaData::Other("no data"),
        };
        match key {
            Value::Integer(at) => numbered.push((at, data)),
            key => {
                plain.named.insert(key.to_string().unwrap_or_default(), data);
            }
        }
    }
    numbered.sort_by_key(|(at, _)| *at);
    plain.list = numbered;
    Ok(plain)
}

/// The layers that a sync can build on, by their names; what they are is in `table`.
fn defaults(lua: &Lua) -> mlua::Result<Table> {
    let all = lua.create_table()?;
    for name in ["rsync", "rsyncssh", "direct"] {
        let one = lua.create_table()?;
        one.set("_layer", name)?;
        all.set(name, one)?;
    }
    Ok(all)
}

/// Notes names that are read and were never given a value: mostly a string without its quotes.
fn watch_globals(lua: &Lua, ear: &Ear) -> mlua::Result<()> {
    let meta = lua.create_table()?;
    let heard = Rc::clone(ear);
    let index = lua.create_function(move |lua, (_, key): (Table, Value)| {
        let (file, line) = caller(lua, &heard);
        let name = key.to_string().unwrap_or_default();
        heard.borrow_mut().evaluated.undefined.push((name, file, line));
        Ok(Value::Nil)
    })?;
    meta.set("__index", index)?;
    lua.globals().set_metatable(Some(meta))
}

/// What older versions of Lua had, and lsyncd has; `print` leaves standard output to the program.
fn former_names(lua: &Lua) -> mlua::Result<()> {
    lua.load(
        "unpack = table.unpack; loadstring = load\n\
         table.getn = function(t) return #t end\n\
         math.pow = function(a, b) return a ^ b end\n\
         print = function(...)\n\
         local all = table.pack(...)\n\
         for i = 1, all.n do all[i] = tostring(all[i]) end\n\
         io.stderr:write(table.concat(all, '\\t'), '\\n')\n\
         end\n\
         string.starts = function(s, part) return s:sub(1, #part) == part end\n\
         string.ends = function(s, part) return part == '' or s:sub(-#part) == part end\n",
    )
    .set_name("@former names")
    .exec()
}

/// Functions of lsyncd that have a use while a file is loaded.
fn helpers(lua: &Lua, ear: &Ear) -> mlua::Result<()> {
    let globals = lua.globals();
    let now = lua.create_function(|_, ()| Ok(jiff::Timestamp::now().as_second()))?;
    globals.set("now", now)?;
    let readdir = lua.create_function(|lua, path: mlua::LuaString| {
        let found = lua.create_table()?;
        let dir = path.as_bytes().to_vec();
        let entries = std::fs::read_dir(Path::new(OsStr::from_bytes(&dir)));
        for entry in entries.map_err(mlua::Error::external)?.flatten() {
            let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
            found.set(lua.create_string(entry.file_name().as_bytes())?, is_dir)?;
        }
        Ok(found)
    })?;
    globals.set("readdir", readdir)?;
    globals.set("terminate", ending(lua, ear, "terminate")?)
}

/// A function with which the configuration ends the program; `check` and `import` must outlive it.
fn ending(lua: &Lua, ear: &Ear, name: &'static str) -> mlua::Result<Function> {
    let heard = Rc::clone(ear);
    lua.create_function(move |lua, code: Value| -> mlua::Result<()> {
        let code = match code {
            Value::Nil | Value::Boolean(true) => 0,
            Value::Boolean(false) => 1,
            code => code.as_i32().unwrap_or(-1),
        };
        let text = format!("the configuration ends the program: {name}({code})");
        let error = mistake(lua, &heard, text);
        if let Some(last) = heard.borrow_mut().errors.last_mut() {
            // A process keeps the lowest byte.
            last.ends = Some(code & 0xff);
        }
        Err(error)
    })
}

/// An error of Lua with its file and line.
fn located(name: &str, error: &mlua::Error) -> ConfigError {
    let mut inner = error;
    while let mlua::Error::CallbackError { cause, .. } = inner {
        inner = cause;
    }
    let whole = match inner {
        mlua::Error::SyntaxError { message, .. } => message.clone(),
        mlua::Error::RuntimeError(message) => message.clone(),
        other => other.to_string(),
    };
    let first = whole.lines().next().unwrap_or_default();
    let (file, line, text) = split_place(first).unwrap_or((name, 0, first));
    let fix = match text {
        text if text.contains("'}' expected") => "; is a comma missing before it?",
        text if ["'$'", "'#'", "'`'", "'['"].iter().any(|sign| text.ends_with(sign)) => {
            "; this is no Lua: was more copied than the configuration?"
        }
        text if text.contains("module '") && text.contains("not found") => {
            "; modules in C cannot be loaded here"
        }
        _ => "",
    };
    ConfigError::new(file, line, format!("{}{fix}", text.trim().trim_end_matches(':')))
}

/// `FILE:LINE: TEXT`.
fn split_place(text: &str) -> Option<(&str, usize, &str)> {
    text.match_indices(':').find_map(|(at, _)| {
        let rest = text.get(at + 1..)?;
        let (number, rest) = rest.split_once(':')?;
        Some((text.get(..at)?, number.parse().ok()?, rest))
    })
}

/// Functions that are not there.
const REFUSED: &[(&str, &str)] = &[
    ("observefd", "only modules in C have descriptors, and none can be loaded"),
    ("nonobservefd", "only modules in C have descriptors, and none can be loaded"),
    ("tunnel", "start the tunnel by itself and name its local end as target"),
];
/// What programs may use while files change.
const RUNTIME: &str = include_str!("../../script/runtime.lua");
/// Bytes that a program may use.
const MEMORY_MAX: usize = 256 << 20;
/// How long a program may run.
const TIME_MAX: Duration = Duration::from_secs(20);
/// Tables within tables.
const DEPTH_MAX: usize = 16;
