//! Numbers of directories in incremental recursion, and the order their contents travel in.
//!
//! All directories of all lists are numbered in order of arrival, within a list in sorted order.
//! The contents of each but `.` travel once, depth first. Source: [flist-dirs].

use crate::error::Error;
use crate::exit::ExitCode;
use crate::flist::list::FileList;

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Its contents are still to come.
    Waiting,
    /// They came, or never will: `.`, and duplicates.
    Done,
}

/// The directories met so far. Names lie in one arena.
pub struct DirTable {
    names: Vec<u8>,
    ends: Vec<usize>,
    states: Vec<State>,
    /// What a sender sends next, last first.
    stack: Vec<i32>,
}

impl Default for DirTable {
    fn default() -> Self {
        DirTable::new()
    }
}

impl DirTable {
    /// No directory yet.
    pub fn new() -> DirTable {
        DirTable { names: Vec::new(), ends: Vec::new(), states: Vec::new(), stack: Vec::new() }
    }

    /// Numbers the directories of a finished list. What has no name here has a number too, and
    /// its contents come, whose names have none either.
    pub fn add_list(&mut self, list: &FileList) {
        let first = self.stack.len();
        for pos in list.positions() {
            let entry = list.get(pos);
            if !entry.is_dir() {
                continue;
            }
            let number = i32::try_from(self.ends.len()).unwrap_or(i32::MAX);
            entry.write_name(&mut self.names);
            self.ends.push(self.names.len());
            let top = entry.base_name() == b"." && entry.dir_name().is_empty();
            let waits = (list.is_active(pos) || list.is_dropped(pos)) && !top;
            self.states.push(if waits { State::Waiting } else { State::Done });
            if waits {
                self.stack.push(number);
            }
        }
        self.stack[first..].reverse();
    }

    /// Number of directories.
    pub fn count(&self) -> usize {
        self.ends.len()
    }

    /// The name of a directory.
    pub fn name(&self, number: i32) -> Option<Vec<u8>> {
        let at = usize::try_from(number).ok()?;
        let end = *self.ends.get(at)?;
        let start = at.checked_sub(1).map_or(Some(0), |before| self.ends.get(before).copied())?;
        self.names.get(start..end).map(<[u8]>::to_vec)
    }

    /// Receiving side: the contents of this directory come now. Errors: no such directory, or its
    /// contents came already or cannot come.
    pub fn announce(&mut self, number: i32) -> Result<(), Error> {
        let state = usize::try_from(number).ok().and_then(|at| self.states.get_mut(at));
        match state {
            Some(state) if *state == State::Waiting => {
                *state = State::Done;
                Ok(())
            }
            Some(_) => {
                let text = format!("refusing a second file list for directory {number}");
                Err(Error::misbehaved(ExitCode::Protocol, "flist-dirs", text))
            }
            None => {
                let text = format!("Invalid dir index: {number}");
                Err(Error::misbehaved(ExitCode::Protocol, "flist-dirs", text))
            }
        }
    }

    /// Sender: the directory whose contents travel next.
    pub fn next_to_send(&self) -> Option<i32> {
        self.stack.last().copied()
    }

    /// Sender: its contents are being sent.
    pub fn mark_sent(&mut self, number: i32) -> Result<(), Error> {
        self.stack.pop();
        self.announce(number)
    }

    /// Sender: the directory after this one, if it is a duplicate of it.
    pub fn duplicate_after(&self, number: i32) -> Option<i32> {
        let next = number.checked_add(1)?;
        let same = self.name(next)? == self.name(number)?;
        same.then_some(next)
    }
}
