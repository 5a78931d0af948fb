//! Where a connection stands, told to the listener that started it.
//!
//! Written by `connection` and `crate::daemon_session` in the connection's process, read by
//! `tally` in the listener's. The record lies in a page that only these two have. In steps: fields
//! are written one after the other, each ended by a NUL, with a number before and behind that
//! every writing raises; a reader that finds two different numbers looks again. Nothing waits for
//! anything here, and a connection can tell lies only about itself.

use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use tree::page::Page;

use crate::control::Control;

/// Most bytes of a name that are told.
const NAME_MAX: usize = 255;
/// How often a reader looks until it has a whole record.
const LOOKS: usize = 20;
/// How often the bytes of a session are told.
const INTERVAL: Duration = Duration::from_secs(1);
/// How many of these intervals the rate is taken over.
const RATE_INTERVALS: usize = 4;

/// What a connection is at; where it is refused, that is the reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Step {
    /// Its process starts, and reads the configuration.
    #[default]
    Start,
    /// The handshake of TLS.
    Tls,
    /// The header of a proxy.
    Proxy,
    /// The greetings.
    Greeting,
    /// The name of a module.
    Module,
    /// The lists of hosts.
    Hosts,
    /// A place within `max connections`.
    Slot,
    /// The lock file for that.
    LockFile,
    /// The login.
    Login,
    /// Ids, root directory, commands of the operator.
    Entry,
    /// The client's words.
    Arguments,
    /// The options among them.
    Options,
    /// Reading or writing a module that does not allow it.
    Access,
    /// The transfer.
    Transfer,
}

/// Every step and its word.
const STEPS: &[(Step, &str)] = &[
    (Step::Start, "start"),
    (Step::Tls, "tls"),
    (Step::Proxy, "proxy"),
    (Step::Greeting, "greeting"),
    (Step::Module, "module"),
    (Step::Hosts, "hosts"),
    (Step::Slot, "max-connections"),
    (Step::LockFile, "lock-file"),
    (Step::Login, "login"),
    (Step::Entry, "entry"),
    (Step::Arguments, "arguments"),
    (Step::Options, "options"),
    (Step::Access, "access"),
    (Step::Transfer, "transfer"),
];

impl Step {
    /// Its word.
    pub fn word(self) -> &'static str {
        STEPS.iter().find(|(step, _)| *step == self).map_or("", |(_, word)| word)
    }
}

/// How a connection has ended, as far as its process came to say so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Parting {
    /// It has not.
    #[default]
    Here,
    /// It was answered or served.
    Served,
    /// It was served, and that ended with an error.
    Failed,
    /// It was refused, for the reason that its step names.
    Refused,
    /// The client took too long.
    TimedOut,
    /// The client left before it was served.
    Left,
}

const PARTINGS: &[(Parting, &str)] = &[
    (Parting::Here, "here"),
    (Parting::Served, "served"),
    (Parting::Failed, "failed"),
    (Parting::Refused, "refused"),
    (Parting::TimedOut, "timeout"),
    (Parting::Left, "left"),
];

/// What is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// What it is at.
    pub step: Step,
    /// Whether it has ended.
    pub parting: Parting,
    /// The client's address, from its proxy if there is one.
    pub address: Vec<u8>,
    /// Its name, where that was looked up.
    pub host: Vec<u8>,
    /// The module; empty before there is one.
    pub module: Vec<u8>,
    /// Who logged in; empty for nobody.
    pub user: Vec<u8>,
    /// Whether this side sends files; `None` before that is known.
    pub sending: Option<bool>,
    /// Bytes read in the session.
    pub received: u64,
    /// Bytes written in the session.
    pub sent: u64,
    /// Bytes of both in a second, of late.
    pub per_second: u64,
}

impl Standing {
    fn encode(&self, number: u64) -> Vec<u8> {
        let find = PARTINGS.iter().find(|(parting, _)| *parting == self.parting);
        let direction = match self.sending {
            None => "",
            Some(true) => "sending",
            Some(false) => "receiving",
        };
        let name = |bytes: &[u8]| bytes.iter().copied().take(NAME_MAX).collect::<Vec<u8>>();
        let number = number.to_string().into_bytes();
        let fields = [
            number.clone(),
            self.step.word().into(),
            find.map_or("", |(_, word)| word).into(),
            name(&self.address),
            name(&self.host),
            name(&self.module),
            name(&self.user),
            direction.into(),
            self.received.to_string().into_bytes(),
            self.sent.to_string().into_bytes(),
            self.per_second.to_string().into_bytes(),
            number,
        ];
        let mut record = fields.join(&0);
        record.push(0);
        record
    }

    /// Reads a record; `None` while it is being written, before it is, and where it makes no sense.
    fn decode(record: &[u8]) -> Option<Standing> {
        let mut fields = record.split(|byte| *byte == 0);
        let mut next = || fields.next();
        let number = |field: &[u8]| std::str::from_utf8(field).ok()?.parse::<u64>().ok();
        let begun = number(next()?)?;
        let (step, parting) = (next()?, next()?);
        let standing = Standing {
            step: STEPS.iter().find(|(_, word)| word.as_bytes() == step)?.0,
            parting: PARTINGS.iter().find(|(_, word)| word.as_bytes() == parting)?.0,
            address: next()?.to_vec(),
            host: next()?.to_vec(),
            module: next()?.to_vec(),
            user: next()?.to_vec(),
            sending: match next()? {
                b"" => None,
                b"sending" => Some(true),
                b"receiving" => Some(false),
                _ => return None,
            },
            received: number(next()?)?,
            sent: number(next()?)?,
            per_second: number(next()?)?,
        };
        (number(next()?)? == begun).then_some(standing)
    }

    /// What a page says; `None` if it says nothing that can be understood.
    pub fn read(page: &Page) -> Option<Standing> {
        (0..LOOKS).find_map(|_| Standing::decode(&page.read().ok()?))
    }
}

/// The writing side.
#[derive(Debug, Default)]
pub struct Teller {
    page: Option<Page>,
    told: Mutex<(u64, Standing)>,
}

impl Teller {
    /// Tells into a page, or nobody.
    pub fn new(page: Option<Page>) -> Teller {
        Teller { page, told: Mutex::default() }
    }

    /// Whether anybody can look.
    pub fn is_heard(&self) -> bool {
        self.page.is_some()
    }

    /// Changes what is told.
    pub fn tell(&self, change: impl FnOnce(&mut Standing)) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let (number, standing) = &mut *told;
        change(standing);
        *number = number.wrapping_add(1);
        if let Some(page) = &self.page {
            // A connection that cannot say where it stands is served all the same.
            let _ = page.write(&standing.encode(*number));
        }
    }

    /// The connection comes to a step.
    pub fn at(&self, step: Step) {
        self.tell(|standing| standing.step = step);
    }

    /// The client of this address is greeted.
    pub fn greets(&self, address: IpAddr) {
        self.tell(|standing| {
            standing.step = Step::Greeting;
            standing.address = address.to_string().into_bytes();
        });
    }

    /// The client has named a module there is.
    pub fn module(&self, name: &[u8]) {
        self.tell(|standing| {
            standing.step = Step::Hosts;
            standing.module = name.to_vec();
        });
    }

    /// The connection is refused at a step.
    pub fn refused(&self, step: Step) {
        self.tell(|standing| (standing.step, standing.parting) = (step, Parting::Refused));
    }

    /// The connection ends. What was said of that before stays.
    pub fn parts(&self, parting: Parting) {
        self.tell(|standing| {
            if standing.parting == Parting::Here {
                standing.parting = parting;
            }
        });
    }
}

/// Tells the bytes of a session while it goes on.
#[derive(Debug)]
pub struct ByteTeller {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
    teller: Arc<Teller>,
    control: Arc<Control>,
}

impl ByteTeller {
    /// Begins. Without a thread for it, or without a listener, only the end is told.
    pub fn start(teller: Arc<Teller>, control: Arc<Control>) -> ByteTeller {
        let (stop, stopped) = channel();
        let (to, of) = (teller.clone(), control.clone());
        let tick = move || {
            let mut past = [0; RATE_INTERVALS];
            while stopped.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                let moved = tell_bytes(&to, &of, |moved| {
                    let then = past.first().copied().unwrap_or(0);
                    moved.saturating_sub(then) / RATE_INTERVALS as u64
                });
                past.rotate_left(1);
                past.last_mut().into_iter().for_each(|last| *last = moved);
            }
        };
        let heard = teller.is_heard();
        let spawn = || Builder::new().name("standing".into()).spawn(tick).ok();
        ByteTeller { stop: Some(stop), thread: heard.then(spawn).flatten(), teller, control }
    }
}

impl Drop for ByteTeller {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        tell_bytes(&self.teller, &self.control, |_| 0);
    }
}

/// Tells the bytes so far, with a rate made of their sum, which is given back.
fn tell_bytes(teller: &Teller, control: &Control, rate: impl FnOnce(u64) -> u64) -> u64 {
    let received = control.read.load(Ordering::Relaxed);
    let sent = control.written.load(Ordering::Relaxed);
    let moved = received.saturating_add(sent);
    teller.tell(|standing| {
        (standing.received, standing.sent) = (received, sent);
        standing.per_second = rate(moved);
    });
    moved
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_read() {
        let page = Page::new().unwrap();
        assert_eq!(Standing::read(&page), None, "nothing is told yet");
        let teller = Teller::new(Some(Page::from_fd(page.share().unwrap())));
        for (step, _) in STEPS {
            teller.at(*step);
            assert_eq!(Standing::read(&page).unwrap().step, *step);
        }
        teller.tell(|standing| {
            standing.module = vec![b'm'; 9999];
            standing.sending = Some(true);
            standing.per_second = u64::MAX;
        });
        teller.refused(Step::Hosts);
        teller.parts(Parting::Served);
        let read = Standing::read(&page).unwrap();
        assert_eq!((read.step, read.parting), (Step::Hosts, Parting::Refused));
        assert_eq!((read.module.len(), read.sending), (NAME_MAX, Some(true)));
        assert_eq!(read.per_second, u64::MAX);
    }

    #[test]
    fn what_a_connection_makes_of_its_page_does_no_harm() {
        let page = Page::new().unwrap();
        let hostile = Page::from_fd(page.share().unwrap());
        let whole = Standing::default().encode(7);
        assert!(Standing::decode(&whole).is_some());
        for end in 0..whole.len() - 1 {
            hostile.write(&vec![0; tree::page::PAGE_BYTES]).unwrap();
            hostile.write(&whole[..end]).unwrap();
            assert_eq!(Standing::read(&page), None, "{end}");
        }
        hostile.write(&vec![0xff; tree::page::PAGE_BYTES]).unwrap();
        assert_eq!(Standing::read(&page), None);
    }
}
