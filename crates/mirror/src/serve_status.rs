//! What a daemon's connections are doing, as `livemirror serve --status` tells it.
//!
//! The listener's book (`rsync::daemon::tally`) as one JSON object, over a socket as a mirror has
//! one (`status`), and as text. Names that are no text are shown with marks in place of what is not,
//! and for a screen without control letters.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use rsync::daemon::standing::Standing;
use rsync::daemon::tally::{Snapshot, Visit};
use serde::{Deserialize, Serialize};

use crate::report::bytes;

/// A daemon at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaemonStatus {
    /// The listener's process.
    pub pid: u32,
    /// Its port.
    pub port: u16,
    /// When it began, in UTC.
    pub since: String,
    /// Connections that were accepted: those there are, those that ended, those that were refused.
    pub accepted: u64,
    /// Connections that were served or answered.
    pub ended: u64,
    /// How many of these ended with an error.
    pub failed: u64,
    /// Connections that were not served, by reason.
    pub refused: BTreeMap<String, u64>,
    /// Bytes read in sessions, those that are over and those there are.
    pub received: u64,
    /// Bytes written in sessions.
    pub sent: u64,
    /// Connections there are, the oldest first.
    pub connections: Vec<ConnectionStatus>,
}

/// One connection at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionStatus {
    /// Its process.
    pub pid: u32,
    /// The client's address.
    pub address: String,
    /// The client's name; empty where it was not looked up.
    pub host: String,
    /// The module; empty before one is named.
    pub module: String,
    /// Who logged in; empty for nobody.
    pub user: String,
    /// What it is at: `transfer`, or a step on the way there.
    pub step: String,
    /// `sending` or `receiving`, as the daemon sees it; empty before that is known.
    pub direction: String,
    /// When it was accepted, in UTC.
    pub since: String,
    /// Bytes read in its session.
    pub received: u64,
    /// Bytes written in its session.
    pub sent: u64,
    /// Bytes per second in both directions, over the last seconds.
    pub bytes_per_s: u64,
}

fn time(at: SystemTime) -> String {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    Timestamp::from_second(seconds).map_or_else(|_| String::new(), |at| at.to_string())
}

impl DaemonStatus {
    /// What the listener's book says.
    pub fn new(port: u16, began: SystemTime, snapshot: &Snapshot) -> DaemonStatus {
        let counts = &snapshot.counts;
        let connections: Vec<_> =
            snapshot.visits.iter().map(|(visit, standing)| connection(visit, standing)).collect();
        let total = |done: u64, of: fn(&ConnectionStatus) -> u64| {
            connections.iter().map(of).fold(done, u64::saturating_add)
        };
        DaemonStatus {
            pid: std::process::id(),
            port,
            since: time(began),
            accepted: counts.accepted,
            ended: counts.ended,
            failed: counts.failed,
            refused: counts.refused.iter().map(|(why, n)| ((*why).to_owned(), *n)).collect(),
            received: total(counts.received, |one| one.received),
            sent: total(counts.sent, |one| one.sent),
            connections,
        }
    }

    /// Understands an answer.
    pub fn parse(json: &str) -> Result<DaemonStatus, String> {
        serde_json::from_str(json).map_err(|e| format!("the answer is not understood: {e}"))
    }

    /// Text for people, some lines.
    pub fn text(&self) -> String {
        let reasons: Vec<String> =
            self.refused.iter().map(|(why, n)| format!("{why} {n}")).collect();
        let reasons = match reasons.is_empty() {
            true => String::new(),
            false => format!(" ({})", reasons.join(", ")),
        };
        let mut out = format!(
            "port {} (process {}), since {}\n  {} connections accepted: {} there, {} ended, {} of \
             them with an error, {} refused{reasons}\n  {} received, {} sent\n",
            self.port,
            self.pid,
            self.since,
            self.accepted,
            self.connections.len(),
            self.ended,
            self.failed,
            self.refused.values().sum::<u64>(),
            bytes(self.received),
            bytes(self.sent),
        );
        for one in &self.connections {
            out.push_str(&one.line());
        }
        out.replace(|c: char| c.is_control() && c != '\n', "?")
    }
}

fn connection(visit: &Visit, standing: &Standing) -> ConnectionStatus {
    let text = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
    let address = match standing.address.as_slice() {
        [] => visit.address.to_string(),
        told => text(told),
    };
    let direction = match standing.sending {
        None => "",
        Some(true) => "sending",
        Some(false) => "receiving",
    };
    ConnectionStatus {
        pid: visit.pid,
        address,
        host: text(&standing.host),
        module: text(&standing.module),
        user: text(&standing.user),
        step: standing.step.word().to_owned(),
        direction: direction.to_owned(),
        since: time(visit.since),
        received: standing.received,
        sent: standing.sent,
        bytes_per_s: standing.per_second,
    }
}

impl ConnectionStatus {
    fn line(&self) -> String {
        let host = match self.host.as_str() {
            "" | "UNDETERMINED" | "UNKNOWN" => self.address.clone(),
            host => format!("{host} ({})", self.address),
        };
        let client = match self.user.as_str() {
            "" => host,
            user => format!("{user}@{host}"),
        };
        let doing = match (self.direction.as_str(), self.module.as_str()) {
            ("", "") => self.step.clone(),
            ("", module) => format!("{} of {module}", self.step),
            ("sending", module) => format!("sending from {module}"),
            (direction, module) => format!("{direction} into {module}"),
        };
        let line = format!(
            "  {client}: {doing}, since {} (process {}); {} received, {} sent, {}/s",
            self.since,
            self.pid,
            bytes(self.received),
            bytes(self.sent),
            bytes(self.bytes_per_s),
        );
        // A name may hold a line feed, and would then look like another connection.
        line.replace(char::is_control, "?") + "\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_text_and_json() {
        let connection = ConnectionStatus {
            pid: 8,
            address: "::1".into(),
            host: "UNKNOWN".into(),
            module: "m\n  x\u{1b}".into(),
            user: "bob".into(),
            step: "transfer".into(),
            direction: "receiving".into(),
            since: "T".into(),
            received: 1500,
            sent: 2,
            bytes_per_s: 10,
        };
        let early = ConnectionStatus {
            address: "::2".into(),
            step: "login".into(),
            module: "m".into(),
            ..ConnectionStatus::default()
        };
        let status = DaemonStatus {
            pid: 7,
            port: 873,
            since: "S".into(),
            accepted: 9,
            ended: 4,
            failed: 1,
            refused: BTreeMap::from([("hosts".into(), 1), ("login".into(), 2)]),
            received: 1500,
            sent: 3000,
            connections: vec![connection, early],
        };
        let json = serde_json::to_string(&status).unwrap();
        assert_eq!(DaemonStatus::parse(&json).unwrap(), status);
        let text = "port 873 (process 7), since S\n  \
            9 connections accepted: 2 there, 4 ended, 1 of them with an error, 3 refused \
            (hosts 1, login 2)\n  1.5 kB received, 3.0 kB sent\n  \
            bob@::1: receiving into m?  x?, since T (process 8); 1.5 kB received, 2 B sent, 10 B/s\n  \
            ::2: login of m, since  (process 0); 0 B received, 0 B sent, 0 B/s\n";
        assert_eq!(status.text(), text);
        assert!(DaemonStatus::parse("{}").is_err());
    }
}
