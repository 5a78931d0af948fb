//! What the syncs with actions of their own hold, and the functions in Lua that reach it.
//!
//! Made by [`super::machine`]. The functions are called by `runtime.lua` alone, under the name
//! `core`; nothing is borrowed while Lua runs.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Instant;

use jiff::Zoned;
use mlua::{Lua, LuaString, Table, Value};
use rsync::options::FilterArg;
use tree::meta::Meta;

use super::delays::{Delay, Delays, EventKind};
use super::process;
use crate::config::crontab::Crontab;
use crate::config::{ModifiedWhen, Trace};
use crate::plan::exclude::Exclude;
use crate::report::{Report, What};
use crate::run::guard::GuardedSource;
use crate::run::shared::Shared;
use crate::run::sync::Reporter;
use crate::watch::event::{Change, Event};
use crate::watch::join;

/// What reaches the loop from other threads.
#[derive(Debug)]
pub(super) enum Message {
    /// Of the sync of this number.
    Events(usize, Vec<Event>),
    /// The process of this number ended with this code.
    Ended(u64, i32),
}

/// One sync.
pub(super) struct ScriptSync {
    pub(super) name: String,
    pub(super) shared: Arc<Shared>,
    pub(super) source: Arc<GuardedSource>,
    pub(super) delays: Delays,
    pub(super) delay_ms: u64,
    pub(super) delays_max: usize,
    pub(super) processes_max: usize,
    pub(super) running: usize,
    /// Names that become others are told as such.
    pub(super) moves: bool,
    /// All ends once nothing waits and nothing runs.
    pub(super) once: bool,
    /// What scripts exclude for a while.
    pub(super) extra: Exclude,
    /// The rules of the sync, one a line.
    pub(super) rules: Vec<Vec<u8>>,
    /// When everything is to be compared, and when that is next.
    pub(super) crontab: Vec<Crontab>,
    pub(super) full_at: Option<Zoned>,
    /// The next name to appear is the other half of a deletion.
    pub(super) moving: bool,
}

/// All of them.
pub(super) struct State {
    pub(super) syncs: HashMap<usize, ScriptSync>,
    pub(super) processes: HashMap<u64, usize>,
    pub(super) processes_max: usize,
    pub(super) last_process: u64,
    pub(super) sender: Sender<Message>,
    /// The code that the program wants to end with.
    pub(super) ends: Option<i64>,
    pub(super) clock: Instant,
    pub(super) reporter: Reporter,
    pub(super) modified: ModifiedWhen,
    pub(super) trace: Trace,
}

pub(super) type SharedState = Rc<RefCell<State>>;

impl State {
    /// Whether all that was to be done once is done.
    pub(super) fn passed(&self) -> bool {
        let done = |sync: &ScriptSync| sync.once && sync.running == 0 && sync.delays.is_empty();
        self.processes.is_empty() && self.syncs.values().all(done)
    }

    pub(super) fn now(&self) -> u64 {
        u64::try_from(self.clock.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub(super) fn say(&self, sync: &str, what: What) {
        (self.reporter)(Report { sync: sync.to_owned(), what });
    }

    /// Tells of one thing inside, to whom that is asked for.
    pub(super) fn trace(
        &self,
        wanted: bool,
        at: usize,
        category: &str,
        text: impl FnOnce() -> String,
    ) {
        if let Some(sync) = self.syncs.get(&at).filter(|_| wanted) {
            self.say(&sync.name, What::Script { category: category.into(), text: text() });
        }
    }

    /// Adds an event.
    fn add(&mut self, at: usize, kind: EventKind, (path, dir): (&[u8], bool), due: u64) {
        if let Some(sync) = self.syncs.get_mut(&at) {
            let last = sync.delays.last();
            if sync.delays.add(kind, path, dir, due) == last {
                return;
            }
        }
        self.trace(self.trace.delay, at, "Delay", || {
            let end = if dir { "/" } else { "" };
            format!("New {}: /{}{end}", kind.name(), String::from_utf8_lossy(path))
        });
    }

    /// Starts a process that works on events; its number.
    fn spawn(
        &mut self,
        at: usize,
        ids: &[u64],
        words: Vec<Vec<u8>>,
        input: Option<Vec<u8>>,
    ) -> u64 {
        self.trace(self.trace.exec, at, "Exec", || shown_words(&words, input.as_deref()));
        self.last_process += 1;
        let number = self.last_process;
        self.processes.insert(number, at);
        if let Some(sync) = self.syncs.get_mut(&at) {
            sync.running += 1;
            for id in ids {
                if let Some(delay) = sync.delays.get_mut(*id) {
                    delay.active = true;
                }
            }
        }
        let (sender, failed) = (self.sender.clone(), self.sender.clone());
        let work = move || {
            let code = process::run(&words, input.as_deref());
            // Nobody waits for it when the syncs have ended.
            let _ = sender.send(Message::Ended(number, code));
        };
        if std::thread::Builder::new().name("action".into()).spawn(work).is_err() {
            let _ = failed.send(Message::Ended(number, 127));
        }
        number
    }

    /// Takes in what happened to one path.
    pub(super) fn path_event(&mut self, at: usize, path: &[u8], change: Change) {
        let now = self.now();
        let Some(sync) = self.syncs.get_mut(&at) else { return };
        let due = now.saturating_add(sync.delay_ms);
        let moving = std::mem::take(&mut sync.moving);
        let (kind, dir) = match change {
            Change::Settled => (EventKind::Modify, false),
            Change::Arrived | Change::Appeared => (EventKind::Create, false),
            Change::MadeDir | Change::Subtree => (EventKind::Create, true),
            Change::Gone { dir } => (EventKind::Delete, dir),
            Change::Attributes => (EventKind::Attrib, sync.is_dir(path)),
            Change::Writing => (EventKind::Modify, false),
        };
        let told = match change {
            Change::Settled => self.modified != ModifiedWhen::Written,
            Change::Writing => self.modified != ModifiedWhen::Closed,
            _ => true,
        };
        if !told || path.is_empty() || sync.extra.hides(path, dir) {
            return;
        }
        if moving && sync.moves && kind == EventKind::Create && sync.delays.pair(path) {
            self.trace(self.trace.delay, at, "Delay", || {
                format!("the last Delete is a Move to /{}", String::from_utf8_lossy(path))
            });
            return;
        }
        let below = if change == Change::Subtree { sync.below(path) } else { Vec::new() };
        self.add(at, kind, (path, dir), due);
        for (inner, is_dir) in below {
            self.add(at, EventKind::Create, (&inner, is_dir), due);
        }
    }
}

/// A command as lsyncd writes it: each word but the first in brackets.
fn shown_words(words: &[Vec<u8>], input: Option<&[u8]>) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace('\0', "\n");
    let mut shown = words.first().map(|word| text(word)).unwrap_or_default();
    if let Some(input) = input {
        shown.push_str(&format!(" [<] [{}]", text(input)));
    }
    for word in words.iter().skip(1) {
        shown.push_str(&format!(" [{}]", text(word)));
    }
    shown
}

impl ScriptSync {
    fn look(&self, path: &[u8]) -> Option<Meta> {
        let root = self.source.root().ok()?;
        self.source.look(&root, path).ok().flatten()
    }

    fn is_dir(&self, path: &[u8]) -> bool {
        self.look(path).is_some_and(|meta| meta.is_dir())
    }

    /// Bytes of a file; 0 for anything else.
    fn size(&self, path: &[u8]) -> u64 {
        self.look(path).filter(|meta| meta.is_file()).map_or(0, |meta| meta.size)
    }

    /// What is in a directory that came here, which counts as made too.
    fn below(&self, path: &[u8]) -> Vec<(Vec<u8>, bool)> {
        let (mut found, mut todo) = (Vec::new(), vec![path.to_vec()]);
        let Ok(root) = self.source.root() else { return found };
        while let Some(above) = todo.pop() {
            let Ok(dir) = self.source.dir(&root, &above) else { continue };
            for (name, is_dir) in self.source.children(&dir).unwrap_or_default() {
                let inner = join(&above, &name);
                if self.extra.hides(&inner, is_dir) {
                    continue;
                }
                if is_dir {
                    todo.push(inner.clone());
                }
                found.push((inner, is_dir));
            }
        }
        found
    }

    fn status(&self, id: u64) -> &'static str {
        match self.delays.get(id) {
            Some(Delay { active: true, .. }) => "active",
            Some(_) if self.delays.is_open(id) => "wait",
            Some(_) => "block",
            None => "done",
        }
    }
}

/// Gives the runtime its functions.
pub(super) fn install(lua: &Lua, core: &Table, state: &SharedState) -> mlua::Result<()> {
    let held = Rc::clone(state);
    let log = move |_: &Lua, (category, text): (LuaString, LuaString)| {
        let text = text.to_string_lossy().to_string();
        let category = category.to_string_lossy().to_string();
        held.borrow().say("script", What::Script { category, text });
        Ok(())
    };
    core.set("log", lua.create_function(log)?)?;
    let held = Rc::clone(state);
    let spawn = move |_: &Lua, given: (usize, Vec<u64>, Vec<LuaString>, Option<LuaString>)| {
        let (at, ids, words, input) = given;
        let words = words.iter().map(|word| word.as_bytes().to_vec()).collect();
        let input = input.map(|text| text.as_bytes().to_vec());
        Ok(held.borrow_mut().spawn(at, &ids, words, input))
    };
    core.set("spawn", lua.create_function(spawn)?)?;
    let held = Rc::clone(state);
    let terminate = move |_: &Lua, code: i64| -> mlua::Result<()> {
        held.borrow_mut().ends = Some(code);
        Err(mlua::Error::runtime("terminate"))
    };
    lua.globals().set("terminate", lua.create_function(terminate)?)?;
    install_events(lua, core, state)?;
    install_rules(lua, core, state)
}

fn install_events(lua: &Lua, core: &Table, state: &SharedState) -> mlua::Result<()> {
    let held = Rc::clone(state);
    let open = move |_: &Lua, at: usize| {
        Ok(held.borrow().syncs.get(&at).map(|sync| sync.delays.open()).unwrap_or_default())
    };
    core.set("open", lua.create_function(open)?)?;
    let held = Rc::clone(state);
    let first = move |_: &Lua, at: usize| {
        Ok(held.borrow().syncs.get(&at).and_then(|sync| sync.delays.first_open()))
    };
    core.set("first", lua.create_function(first)?)?;
    let held = Rc::clone(state);
    let delay = move |lua: &Lua, (at, id): (usize, u64)| {
        let state = held.borrow();
        let Some(delay) = state.syncs.get(&at).and_then(|sync| sync.delays.get(id)) else {
            return Err(mlua::Error::runtime("this event is done"));
        };
        let to = delay.to.as_ref().map(|to| lua.create_string(to)).transpose()?;
        Ok((delay.kind.name(), lua.create_string(&delay.path)?, to, delay.dir))
    };
    core.set("delay", lua.create_function(delay)?)?;
    let held = Rc::clone(state);
    let status = move |_: &Lua, (at, id): (usize, u64)| {
        Ok(held.borrow().syncs.get(&at).map_or("done", |sync| sync.status(id)))
    };
    core.set("status", lua.create_function(status)?)?;
    let held = Rc::clone(state);
    let done = move |_: &Lua, (at, ids): (usize, Vec<u64>)| {
        if let Some(sync) = held.borrow_mut().syncs.get_mut(&at) {
            sync.delays.done(&ids);
        }
        Ok(())
    };
    core.set("done", lua.create_function(done)?)?;
    let held = Rc::clone(state);
    let again = move |_: &Lua, (at, ids): (usize, Vec<u64>)| {
        let mut state = held.borrow_mut();
        let now = state.now();
        if let Some(sync) = state.syncs.get_mut(&at) {
            sync.delays.again(&ids, now.saturating_add(sync.delay_ms.max(AGAIN_MS)));
        }
        Ok(())
    };
    core.set("again", lua.create_function(again)?)?;
    let held = Rc::clone(state);
    let add = move |_: &Lua, (at, kind): (usize, LuaString)| {
        let kind = match &*kind.as_bytes() {
            b"Full" => EventKind::Full,
            _ => EventKind::Blanket,
        };
        let mut state = held.borrow_mut();
        Ok(state.syncs.get_mut(&at).map(|sync| sync.delays.add(kind, b"", true, 0)))
    };
    core.set("add", lua.create_function(add)?)
}

fn install_rules(lua: &Lua, core: &Table, state: &SharedState) -> mlua::Result<()> {
    let held = Rc::clone(state);
    let hide = move |_: &Lua, (at, rules, patterns): (usize, Vec<LuaString>, Vec<LuaString>)| {
        let rules = rules.iter().map(|rule| FilterArg::Rule(rule.as_bytes().to_vec()));
        let patterns =
            patterns.iter().map(|pattern| FilterArg::Exclude(pattern.as_bytes().to_vec()));
        let rules: Vec<FilterArg> = rules.chain(patterns).collect();
        let extra = Exclude::new(&rules, b"").map_err(mlua::Error::runtime)?;
        if let Some(sync) = held.borrow_mut().syncs.get_mut(&at) {
            sync.extra = extra;
        }
        Ok(())
    };
    core.set("hide", lua.create_function(hide)?)?;
    let held = Rc::clone(state);
    let size = move |_: &Lua, (at, id): (usize, u64)| {
        let state = held.borrow();
        let found = state.syncs.get(&at).and_then(|sync| Some((sync, sync.delays.get(id)?)));
        Ok(found.map_or(0, |(sync, delay)| sync.size(&delay.path)))
    };
    core.set("size", lua.create_function(size)?)?;
    let held = Rc::clone(state);
    let rules = move |lua: &Lua, at: usize| {
        let state = held.borrow();
        let rules = state.syncs.get(&at).map(|sync| sync.rules.as_slice()).unwrap_or_default();
        let rules = rules.iter().map(|rule| lua.create_string(rule).map(Value::String));
        lua.create_sequence_from(rules.collect::<mlua::Result<Vec<_>>>()?)
    };
    core.set("rules", lua.create_function(rules)?)
}

/// The shortest time to the next attempt, in milliseconds.
const AGAIN_MS: u64 = 1000;
