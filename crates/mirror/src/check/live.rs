//! Asks the targets: can they be reached, do they let this sync in, what would the first pass delete.
//!
//! Called by `check` when it is wanted. Nothing is written at a target. Only daemons and local
//! directories are asked: a remote shell may want a password from the terminal.

use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use rsync::console::{Captured, Console};
use rsync::control::Control;
use rsync::daemon::config::DaemonConfig;
use rsync::daemon::params::Param;
use rsync::location::{self, DAEMON_PORT, Location};
use rsync::options::Options;
use wire::exit::ExitCode;

use super::finding::Finding;
use super::{PlacedSync, facts};
use crate::config::SyncConfig;
use crate::config::toml::nearest;
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
            let who = match facts::listener(port) {
                Some((pid, name)) => format!("process {pid} ({name})"),
                None => "another program".to_owned(),
            };
            let text = format!("{who} listens there: the daemon does not start");
            found.push(Finding::new(file, at, text).fix("end it, or choose another port").fatal());
        }
        let pid_file = config.globals.text(Param::PidFile);
        // With the port in use it is this very daemon that runs.
        if let Some(pid) = facts::lock_holder(&pid_file).filter(|_| facts::is_free(&address, port))
        {
            let place = config.globals.setting(Param::PidFile).map(|s| s.place.line);
            let shown = String::from_utf8_lossy(&pid_file);
            let at = (place.unwrap_or(0), format!("pid file = {shown}"));
            let name = facts::process_name(pid);
            let text = format!("process {pid} ({name}) has it and runs: no second daemon starts");
            found.push(Finding::new(file, at, text).fix("end it, or choose another file").fatal());
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
            let fix = match outcome.reason.contains("Unknown module") {
                true => offered(&config),
                false => None,
            };
            let fix = fix.unwrap_or_else(|| remedy(outcome.exit, &outcome.reason).to_owned());
            let finding = about(format!("the target refuses: {}", outcome.reason));
            found.push(finding.fix(fix).fatal());
            continue;
        }
        if (config.deletes_whole() || config.skip_first) && facts::is_filled(&config.source) {
            tried_out(placed, &job, found);
        }
    }
}

/// What to do about a module that the daemon says is not there, by the list of those it shows.
fn offered(config: &SyncConfig) -> Option<String> {
    let Ok(Location::Daemon { user, host, port, module_path, via_shell, tls }) =
        location::parse(&config.target, &config.options)
    else {
        return None;
    };
    let asked = module_path.split(|&b| b == b'/').next().unwrap_or_default();
    let asked = String::from_utf8_lossy(asked).into_owned();
    let top = Location::Daemon { user, host, port, module_path: Vec::new(), via_shell, tls };
    let console = Arc::new(Captured::default());
    let options = Options { filters: Vec::new(), ..config.options.clone() };
    let lines = Arc::clone(&console) as Arc<dyn Console>;
    let outcome = rsync::client::run(options, vec![top], None, lines, Arc::default());
    let (lines, _) = console.take();
    let lines = String::from_utf8_lossy(&lines).into_owned();
    let names: Vec<&str> = lines
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .map(|(name, _)| name.trim_end())
        .collect();
    let shown = match nearest(&asked, &names) {
        Some(near) => format!("did you mean {near}?"),
        None if names.is_empty() => "it shows no module at all".to_owned(),
        None => format!("it shows {}", names.join(", ")),
    };
    let hidden = "one that is not listed says so too to a host it does not admit";
    (outcome.exit == ExitCode::Ok).then(|| format!("{shown} ({hidden})"))
}

/// Says what the first pass would delete, or what nobody sends where there is none.
fn tried_out(placed: &PlacedSync, job: &Job, found: &mut Vec<Finding>) {
    let Some((files, deleted)) = limited(|control| job.would_do(control)) else { return };
    let (origin, first) = (&placed.origin, !placed.config.skip_first);
    if first && deleted > 0 {
        let text = format!("the first pass would delete {deleted} entries there");
        let finding = Finding::new(&origin.file, origin.find(KEYS), text);
        found.push(finding.fix("see that this is meant, or set delete = false"));
    }
    if !first && files > 0 {
        let text = format!("{files} files differ at the target, and the start sends nothing");
        let at = origin.find(&["init", "skip_first"]);
        let finding = Finding::new(&origin.file, at, text);
        found.push(finding.fix("leave it out, so that they are sent"));
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
