//! What a listener knows of its connections: who is there, and how many came and how they went.
//!
//! Kept by `listen`, asked by the program from a thread of its own. Where a connection stands is in
//! a page that its process writes (`standing`); pages are read only when somebody asks, and without
//! the lock, so that the listener waits for no one.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use tree::page::Page;

use super::standing::{Parting, Standing, Step};

/// How many connections came, and how those that are over went. Each one that was accepted is
/// there, or has ended, or was refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Taken from the network.
    pub accepted: u64,
    /// Served or answered, to an end of whatever kind.
    pub ended: u64,
    /// Those of them that ended with an error.
    pub failed: u64,
    /// Not served, by reason.
    pub refused: BTreeMap<&'static str, u64>,
    /// Bytes that all of them sent to us in sessions.
    pub received: u64,
    /// Bytes that all of them were sent.
    pub sent: u64,
}

/// One connection.
#[derive(Debug)]
pub struct Visit {
    /// Its process.
    pub pid: u32,
    /// When it came.
    pub since: SystemTime,
    /// Who is at the other end of the wire.
    pub address: IpAddr,
    page: Page,
}

/// Everything at one moment.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// The numbers.
    pub counts: Counts,
    /// Connections that are there, in the order in which they came.
    pub visits: Vec<(Arc<Visit>, Standing)>,
}

/// The listener's book.
#[derive(Debug, Default)]
pub struct Tally(Mutex<Book>);

#[derive(Debug, Default)]
struct Book {
    counts: Counts,
    there: Vec<Arc<Visit>>,
}

impl Counts {
    /// Counts a connection that is over.
    fn settle(&mut self, last: Option<Standing>) {
        let last = last.unwrap_or_default();
        self.received = self.received.saturating_add(last.received);
        self.sent = self.sent.saturating_add(last.sent);
        let reason = match last.parting {
            Parting::Refused => last.step.word(),
            Parting::TimedOut => "timeout",
            Parting::Left => "left",
            Parting::Here if last.step != Step::Transfer => "broken",
            Parting::Here | Parting::Failed | Parting::Served => {
                self.ended += 1;
                self.failed += u64::from(last.parting != Parting::Served);
                return;
            }
        };
        *self.refused.entry(reason).or_default() += 1;
    }

    /// All that were not served.
    pub fn refusals(&self) -> u64 {
        self.refused.values().sum()
    }
}

impl Tally {
    /// The next connection was accepted.
    pub(crate) fn accept(&self) {
        self.book().counts.accepted += 1;
    }

    /// There is no process for an accepted one.
    pub(crate) fn turn_away(&self) {
        *self.book().counts.refused.entry("no-process").or_default() += 1;
    }

    /// An accepted connection has its process.
    pub(crate) fn enter(&self, pid: u32, address: IpAddr, page: Page) {
        let visit = Visit { pid, since: SystemTime::now(), address, page };
        self.book().there.push(Arc::new(visit));
    }

    /// The process has ended.
    pub(crate) fn leave(&self, pid: u32) {
        let mut book = self.book();
        let Some(at) = book.there.iter().position(|visit| visit.pid == pid) else { return };
        let visit = book.there.remove(at);
        book.counts.settle(Standing::read(&visit.page));
    }

    /// How things are now. A connection that has said that it ends is over, though its process may
    /// still be there.
    pub fn snapshot(&self) -> Snapshot {
        let (counts, there) = {
            let book = self.book();
            (book.counts.clone(), book.there.clone())
        };
        let mut snapshot = Snapshot { counts, visits: Vec::new() };
        for visit in there {
            match Standing::read(&visit.page) {
                Some(over) if over.parting != Parting::Here => {
                    snapshot.counts.settle(Some(over));
                }
                standing => snapshot.visits.push((visit, standing.unwrap_or_default())),
            }
        }
        snapshot
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::daemon::standing::Teller;

    /// Lets a connection in that writes a page.
    fn comes(tally: &Tally, pid: u32) -> Teller {
        let page = Page::new().unwrap();
        let teller = Teller::new(Some(Page::from_fd(page.share().unwrap())));
        tally.accept();
        tally.enter(pid, Ipv4Addr::LOCALHOST.into(), page);
        teller
    }

    #[test]
    fn everybody_is_there_or_ended_or_refused() {
        let tally = Tally::default();
        let tellers: Vec<Teller> = (1..=6).map(|pid| comes(&tally, pid)).collect();
        tellers[0].tell(|standing| {
            (standing.step, standing.sent, standing.received) = (Step::Transfer, 5, 7);
        });
        tellers[1].refused(Step::Login);
        tellers[2].parts(Parting::TimedOut);
        tellers[3].parts(Parting::Served);
        tellers[4].at(Step::Transfer);
        tally.accept();
        tally.turn_away();
        let open = tally.snapshot();
        let there: Vec<u32> = open.visits.iter().map(|(visit, _)| visit.pid).collect();
        assert_eq!(there, [1, 5, 6], "who has not spoken yet is there too");
        assert_eq!((open.counts.accepted, open.counts.ended), (7, 1));
        assert_eq!(open.counts.refusals(), 3);
        tellers[0].parts(Parting::Failed);
        for pid in 1..=6 {
            tally.leave(pid);
        }
        let end = tally.snapshot();
        assert!(end.visits.is_empty());
        let refused = [("broken", 1), ("login", 1), ("no-process", 1), ("timeout", 1)];
        assert_eq!(end.counts.refused, BTreeMap::from(refused));
        // The first failed and the fifth was killed in its session.
        assert_eq!((end.counts.ended, end.counts.failed), (3, 2));
        assert_eq!((end.counts.sent, end.counts.received), (5, 7));
    }
}
