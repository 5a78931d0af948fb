//! Which files the generator has asked for: the receiver takes no others, and from no other basis.
//!
//! The generator notes a request before it is written; the receiver strikes it out when the content
//! comes or the sender says that it does not. What is left when a phase ends was withheld, and
//! nobody would ever bring it. Protocols whose records do not tell the basis find it here.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use wire::error::Error;
use wire::exchange::request::ItemHead;
use wire::exit::ExitCode;
use wire::itemize::ItemFlags;

use crate::control::Control;
use crate::fatal::Fatal;
use crate::receiving::Receiving;

/// How long content that came too early waits for its request: no honest sender knows before it
/// is asked, but one that plays a recorded stream may be right.
const TOO_EARLY: Duration = Duration::from_secs(10);
/// How often such a wait looks whether it is to stop.
const STOP_CHECK: Duration = Duration::from_millis(250);

/// Requests without an answer. As many as the lists have files at most.
#[derive(Debug, Default)]
pub struct AskedFiles {
    state: Mutex<AskState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct AskState {
    open: HashMap<i32, AskedFile>,
    /// Below this index nothing will be asked for the first time.
    decided: i32,
    /// The generator has ended.
    over: bool,
    /// The receiver waits for a change.
    awaited: bool,
}

/// What was asked of one file.
#[derive(Debug, PartialEq, Eq)]
struct AskedFile {
    /// Kind of the basis.
    basis: Option<u8>,
    /// Its name, where it has another.
    xname: Option<Vec<u8>>,
    /// Its sums were sent, so that blocks of it may come.
    sums: bool,
}

impl AskedFiles {
    fn state(&self) -> Result<MutexGuard<'_, AskState>, Fatal> {
        self.state.lock().map_err(|_| Fatal::silent(ExitCode::Crashed))
    }

    fn change(&self, change: impl FnOnce(&mut AskState)) {
        let Ok(mut state) = self.state.lock() else { return };
        change(&mut state);
        if state.awaited {
            self.changed.notify_all();
        }
    }

    /// Notes a request for content.
    pub fn ask(&self, head: &ItemHead) {
        if head.iflags.contains(ItemFlags::TRANSFER) {
            self.change(|state| {
                let (basis, xname) = (head.basis, head.xname.clone());
                state.open.insert(head.ndx, AskedFile { basis, xname, sums: false });
            });
        }
    }

    /// Sums go with the request.
    pub fn offer(&self, index: i32) {
        self.change(|state| {
            if let Some(file) = state.open.get_mut(&index) {
                file.sums = true;
            }
        });
    }

    /// Nothing below `end` will be asked for any more, unless it comes out wrong.
    pub fn decided(&self, end: i32) {
        self.change(|state| state.decided = state.decided.max(end));
    }

    /// Nobody will ask for anything.
    pub fn end(&self) {
        self.change(|state| state.over = true);
    }

    /// Strikes a request out; whether there was one.
    pub fn withdraw(&self, index: i32) -> bool {
        self.state().is_ok_and(|mut state| state.open.remove(&index).is_some())
    }

    /// Strikes a request out when its answer comes. It may be made yet: `again` says that the
    /// generator has been told to.
    fn take(&self, index: i32, again: bool, control: &Control) -> Result<Option<AskedFile>, Fatal> {
        let settled =
            |state: &AskState| state.open.contains_key(&index) || !again && state.decided > index;
        Ok(self.when(settled, control)?.open.remove(&index))
    }

    /// Waits a while for the generator.
    fn when(
        &self,
        settled: impl Fn(&AskState) -> bool,
        control: &Control,
    ) -> Result<MutexGuard<'_, AskState>, Fatal> {
        let (mut state, begun) = (self.state()?, Instant::now());
        while !state.over && !settled(&state) && begun.elapsed() < TOO_EARLY {
            control.stopped()?;
            state.awaited = true;
            let waited = self.changed.wait_timeout(state, STOP_CHECK);
            state = waited.map_err(|_| Fatal::silent(ExitCode::Crashed))?.0;
        }
        state.awaited = false;
        Ok(state)
    }
}

impl Receiving {
    /// The head of a record of content that has arrived, with the basis that it was asked for with;
    /// `again` if it came out wrong before. And whether blocks of the basis may come. Errors: nobody
    /// asked for it, or with another basis. A batch brings what it has.
    pub fn as_asked(&self, head: ItemHead, again: bool) -> Result<(ItemHead, bool), Fatal> {
        let told = self.agreed.protocol.has_item_flags();
        if self.wants.is_some() {
            let asked = self.asked.state()?.open.remove(&head.ndx);
            let basis = asked.and_then(|asked| asked.basis);
            return Ok((if told { head } else { ItemHead { basis, ..head } }, true));
        }
        match self.asked.take(head.ndx, again, &self.control)? {
            None => Err(misbehaved("content came that was not asked for")),
            Some(AskedFile { basis, sums, .. }) if !told => Ok((ItemHead { basis, ..head }, sums)),
            Some(asked) if asked.basis == head.basis && asked.xname == head.xname => {
                Ok((head, asked.sums))
            }
            Some(_) => Err(misbehaved("content came against a basis that was not named")),
        }
    }

    /// A phase ends, in which files below `end` could be asked for. Errors: content that did not
    /// come, where the protocol lets a sender say so.
    pub fn all_answered(&self, end: i32) -> Result<(), Fatal> {
        let mut state = self.asked.when(|state| state.decided >= end, &self.control)?;
        let owed = self.agreed.protocol.has_failure_messages() && self.wants.is_none();
        if owed && !state.open.is_empty() {
            return Err(misbehaved("content that was asked for did not come"));
        }
        state.open.clear();
        Ok(())
    }
}

fn misbehaved(text: &str) -> Fatal {
    Error::misbehaved(ExitCode::Protocol, "item", text.to_owned()).into()
}
