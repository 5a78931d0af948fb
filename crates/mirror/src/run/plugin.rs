//! Transfers that tell somebody of each path they have sent.
//!
//! Called by `run::sync` in the place of the transfers of a sync with a plugin. Only batches are told
//! of: a comparison of everything is none of any path. A path is told once a batch, after it was
//! sent, as the watched directory followed by its name, in one word whatever is in it. A directory
//! that came with what it holds is told with each name in it. A directory whose time alone has
//! changed, since a name in it is gone, is not told.
//!
//! Not guaranteed: that a path still is what it was when it was sent.

use std::ffi::OsStr;
use std::io::{self, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::os::unix::ffi::OsStrExt as _;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rsync::control::Control;
use rsync::problem::{Outcome, Problem, ProblemKind};
use wire::exit::ExitCode;

use super::guard::{GuardedSource, Refusal};
use super::job::{Transfer, add, nothing_done};
use crate::aggregate::queue::parent;
use crate::config::SyncConfig;
use crate::config::plugin::{Plugin, PluginTo};
use crate::plan::batch::{Batch, path_of};
use crate::plan::exclude::Exclude;
use crate::watch::join;

/// The transfers of a sync with a plugin.
pub struct Telling {
    /// `None` when telling is all there is.
    inner: Option<Box<dyn Transfer>>,
    plugin: Plugin,
    source: GuardedSource,
    prefix: Vec<u8>,
    /// What is none of the mirror's business is not told either.
    exclude: Exclude,
    only: Exclude,
}

impl Telling {
    /// Puts the plugin of `config` behind `inner`. Errors: the source or a rule is not fit.
    pub fn new(
        config: &SyncConfig,
        plugin: &Plugin,
        inner: Option<Box<dyn Transfer>>,
    ) -> Result<Telling, Refusal> {
        let (_, prefix) = config.base_and_prefix();
        let rules = |filters| {
            Exclude::new(filters, &prefix)
                .map_err(|text| Refusal { text, remedy: "correct the rule".into() })
        };
        let (exclude, only) = (rules(&config.options.filters)?, rules(&plugin.only)?);
        let source = GuardedSource::open(&config.source)?;
        Ok(Telling { inner, plugin: plugin.clone(), source, prefix, exclude, only })
    }

    /// The paths of a batch that are to be told, relative to the source.
    fn paths(&self, batch: &Batch) -> Result<Vec<Vec<u8>>, Refusal> {
        let root = self.source.root()?;
        let path = |name: &Vec<u8>| path_of(&self.prefix, name).map(<[u8]>::to_vec);
        let mut paths = Vec::new();
        let (mut idle, mut dirs) = (Vec::new(), Vec::new());
        for path in batch.names.iter().filter_map(path).filter(|path| !path.is_empty()) {
            match self.source.look(&root, &path).ok().flatten() {
                Some(meta) if meta.is_dir() => dirs.push(path),
                Some(_) => paths.push(path),
                None => {
                    idle.push(parent(&path).to_vec());
                    paths.push(path);
                }
            }
        }
        paths.extend(dirs.into_iter().filter(|dir| !idle.contains(dir)));
        let mut open: Vec<Vec<u8>> = batch.subtrees.iter().filter_map(path).collect();
        while let Some(at) = open.pop() {
            // One that is gone again is told by the batch that deletes it.
            let Ok(dir) = self.source.dir(&root, &at) else { continue };
            for (name, is_dir) in self.source.children(&dir).unwrap_or_default() {
                let path = join(&at, &name);
                match (self.exclude.hides(&path, is_dir), is_dir) {
                    (true, _) => {}
                    (_, true) => open.push(path),
                    (_, false) => paths.push(path),
                }
            }
            paths.push(at);
        }
        paths.sort_unstable();
        paths.retain(|path| self.only.is_empty() || self.only.hides(path, false));
        Ok(paths)
    }

    /// Tells of one path. Errors: a line.
    fn tell(&self, path: &[u8], control: &Control) -> Result<(), String> {
        let mut whole = self.source.path().to_vec();
        if !whole.ends_with(b"/") {
            whole.push(b'/');
        }
        whole.extend_from_slice(path);
        match &self.plugin.to {
            PluginTo::Command { before, after, ignore_error } => {
                let words = before.iter().chain([&whole]).chain(after);
                let words: Vec<&[u8]> = words.map(Vec::as_slice).collect();
                let done = command(&words, control);
                let name = String::from_utf8_lossy(words.first().copied().unwrap_or_default());
                match done {
                    Ok(Some(status)) if !status.success() && !ignore_error => {
                        Err(format!("the plugin {name} ended with {status}"))
                    }
                    Ok(_) => Ok(()),
                    Err(error) => Err(format!("the plugin {name} cannot be run: {error}")),
                }
            }
            PluginTo::Socket { host, port } => send(host, *port, &whole)
                .map_err(|error| format!("the plugin's socket {host} port {port}: {error}")),
        }
    }
}

impl Transfer for Telling {
    fn full(&self, control: &Arc<Control>) -> Outcome {
        self.inner.as_ref().map_or_else(nothing_done, |inner| inner.full(control))
    }

    fn timed(&self, control: &Arc<Control>) -> Outcome {
        self.inner.as_ref().map_or_else(nothing_done, |inner| inner.timed(control))
    }

    fn batch(&self, batch: &Batch, control: &Arc<Control>) -> Outcome {
        let mut all = nothing_done();
        if let Some(inner) = &self.inner
            && !add(&mut all, inner.batch(batch, control))
        {
            return all;
        }
        let paths = match self.paths(batch) {
            Ok(paths) => paths,
            Err(refusal) => return Outcome { reason: refusal.text, ..failed() },
        };
        let failed_before: Vec<Vec<u8>> = all.problems.iter().map(|p| p.path.clone()).collect();
        for path in paths.iter().filter(|path| !failed_before.contains(path)) {
            if control.stop_requested() {
                break;
            }
            if let Err(text) = self.tell(path, control) {
                let path =
                    if self.prefix.is_empty() { path.clone() } else { join(&self.prefix, path) };
                let problems = vec![Problem { path, kind: ProblemKind::Failed, text }];
                add(&mut all, Outcome { problems, complete: true, ..failed() });
            }
        }
        all
    }

    fn target_is_empty(&self, control: &Arc<Control>) -> Result<bool, Outcome> {
        self.inner.as_ref().map_or(Ok(true), |inner| inner.target_is_empty(control))
    }
}

fn failed() -> Outcome {
    let exit = ExitCode::Partial;
    Outcome { exit, status: exit.code(), complete: false, ..nothing_done() }
}

/// Runs a program to its end; `None` when it was ended since the end of the mirror was asked for.
fn command(words: &[&[u8]], control: &Control) -> io::Result<Option<ExitStatus>> {
    let mut words = words.iter().map(|word| OsStr::from_bytes(word));
    let mut command = Command::new(words.next().unwrap_or_default());
    let mut child = command.args(words).stdin(Stdio::null()).spawn()?;
    let mut wait = FIRST_WAIT;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if control.stop_requested() {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(wait);
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

/// Sends bytes over a connection of their own.
fn send(host: &str, port: u16, bytes: &[u8]) -> io::Result<()> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "no such host");
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
            Ok(mut stream) => {
                stream.set_write_timeout(Some(CONNECT_TIMEOUT))?;
                return stream.write_all(bytes);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// How soon the end of a program is looked for; each look waits twice as long as the last.
const FIRST_WAIT: Duration = Duration::from_micros(200);
/// The longest wait between two looks.
const LONGEST_WAIT: Duration = Duration::from_millis(50);
/// How long a host may take to take a path.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
