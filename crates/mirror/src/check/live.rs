//! Asks the targets: can they be reached, do they let this sync in, what would the first pass delete.
//!
//! Called by `check` when it is wanted. Nothing is written at a target. Only daemons and local
//! directories are asked: a remote shell may want a password from the terminal.

use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use rsync::control::Control;
use rsync::daemon::config::DaemonConfig;
use rsync::daemon::params::Param;
use rsync::location::{self, DAEMON_PORT, Location};

use super::finding::Finding;
use super::{PlacedSync, facts};
use crate::run::job::Job;
use crate::run::retry::remedy;

const KEYS: &[&str] = &["target", "host", "targetdir"];

/// Sees whether each daemon could listen.
pub fn ports(daemons: &[(String, DaemonConfig)], found: &mut Vec<Finding>) {
    for (file, config) in daemons {
        let Ok(port @ 1..) = u16::try_from(config.globals.int(Param::Port)) else { continue };
        let address = String::from_utf8_lossy(&config.globals.text(Param::Address)).into_owned();
        if facts::held_by_another(&address, port) {
            let place = config.globals.setting(Param::Port).map(|s| s.place.line);
            let at = (place.unwrap_or(0), format!("port = {port}"));
            let text = "another program listens there: the daemon does not start";
            found.push(Finding::new(file, at, text).fix("end it, or choose another port").fatal());
        }
    }
}

/// Asks the target of each sync whose source is there.
pub fn ask(syncs: &[PlacedSync], found: &mut Vec<Finding>) {
    for placed in syncs {
        let mut config = placed.config.clone();
        let about =
            |text: String| Finding::new(&placed.origin.file, placed.origin.find(KEYS), text);
        let daemon = match location::parse(&config.target, &config.options) {
            Ok(Location::Daemon { host, port, via_shell: false, .. }) => Some((host, port)),
            Ok(Location::Local(_)) => None,
            _ => continue,
        };
        if let Some((host, port)) = &daemon {
            let port = port.unwrap_or(DAEMON_PORT);
            if let Err(error) = facts::reach(host, port) {
                let host = String::from_utf8_lossy(host);
                let finding = about(format!("port {port} of {host} cannot be reached: {error}"));
                found.push(finding.fix(unreachable(&error, port)).fatal());
                continue;
            }
            config.options.contimeout_s = ANSWER_S;
            config.options.timeout_s = ANSWER_S;
            if config.options.password_file.is_none() {
                // Without one a login would ask on the terminal.
                continue;
            }
        }
        let Ok(job) = Job::new(&config) else { continue };
        if daemon.is_some()
            && let Err(outcome) = job.list_target(&Arc::default())
        {
            let finding = about(format!("the target refuses: {}", outcome.reason));
            found.push(finding.fix(remedy(outcome.exit, &outcome.reason)).fatal());
            continue;
        }
        if config.delete && facts::is_filled(&config.source) {
            let deleted = limited(|control| job.would_delete(control));
            if let Some(count) = deleted.filter(|&count| count > 0) {
                let finding = about(format!("the first pass would delete {count} entries there"));
                found.push(finding.fix("see that this is meant, or set delete = false"));
            }
        }
    }
}

fn unreachable(error: &std::io::Error, port: u16) -> String {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => {
            "start the daemon there, or correct the port".into()
        }
        std::io::ErrorKind::TimedOut | std::io::ErrorKind::HostUnreachable => {
            format!("a firewall, or the host is down: open {port}/tcp there")
        }
        _ => "correct the address".into(),
    }
}

/// Runs a transfer that is stopped when it takes too long.
fn limited<T: Send>(work: impl FnOnce(&Arc<Control>) -> T + Send) -> T {
    let control = Arc::new(Control::default());
    let (done, wait) = channel::<()>();
    std::thread::scope(|scope| {
        let watched = Arc::clone(&control);
        scope.spawn(move || {
            if wait.recv_timeout(LOOK_MAX) == Err(RecvTimeoutError::Timeout) {
                watched.request_stop();
            }
        });
        let result = work(&control);
        drop(done);
        result
    })
}

/// Seconds a daemon may take to answer.
const ANSWER_S: u32 = 5;
/// How long the first pass is tried out.
const LOOK_MAX: Duration = Duration::from_secs(10);
