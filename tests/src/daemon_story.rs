//! One configuration under one program, and all that can be seen of it: what clients are told, what
//! arrives, what the log says. Called by the tests that compare daemons.
//!
//! The log's lines are gathered by process, so that connections that overlap tell the same story.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::lines;
use crate::peer::{self, Programs, Server, Side};
use crate::tree_text;

const LIMIT: Duration = Duration::from_secs(30);
/// A log that has not grown for this long is complete.
const QUIET: Duration = Duration::from_millis(1200);

/// A directory with a configuration, a daemon that serves it, and what was seen so far.
pub struct DaemonStory {
    /// The directory; `PLACE` in a configuration is its path.
    pub dir: PathBuf,
    /// The daemon.
    pub server: Server,
    client: Vec<String>,
    fresh_from: i64,
    seen: Vec<(String, Vec<String>)>,
}

impl DaemonStory {
    /// Makes the directory, lets `fill` put into it what the configuration serves, and starts the
    /// daemon of a side. The configuration has to log to `PLACE/log`.
    ///
    /// # Panics
    /// When the daemon does not start.
    pub fn start(
        programs: &Programs,
        side: Side,
        name: &str,
        config: &str,
        fill: impl Fn(&Path),
    ) -> DaemonStory {
        let own = format!("livemirror-{name}-{}-{}", std::process::id(), side.word());
        let dir = std::env::temp_dir().join(own);
        // What an earlier process of the same id left.
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).expect("a directory");
        fill(&dir);
        let text = config.replace("PLACE", dir.to_str().expect("a path in UTF-8"));
        std::fs::write(dir.join("conf"), text).expect("a configuration");
        let (out, log, port) = (dir.join("daemon.out"), dir.join("log"), peer::free_port());
        let words = Server::words(&programs.words(side), port, &dir.join("conf"));
        // It listens before it says so, and whoever asked it would be in its log.
        let says = |text: &[u8]| String::from_utf8_lossy(text).contains(" starting, listening on ");
        let ready = || std::fs::read(&log).is_ok_and(|text| says(&text));
        let server = Server::run_until(&words, port, &out, ready);
        let client = programs.words(Side::Theirs);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
        let server = server.expect("a daemon");
        // Whatever is made from here on is as new as what was made for the story.
        let fresh_from = now.as_secs() as i64 - LIMIT.as_secs() as i64;
        DaemonStory { dir, server, client, fresh_from, seen: Vec::new() }
    }

    /// The reference tells a client where in the file system a module lies; paths of ours begin at
    /// the module.
    fn places(&self) -> [(String, &'static str); 2] {
        let dir = self.dir.display();
        [(format!("{dir}/tree/"), "/"), (dir.to_string(), "PLACE")]
    }

    /// Lets another program be the client.
    pub fn play(&mut self, client: &[String]) {
        self.client = client.to_vec();
    }

    /// Notes something that was seen.
    pub fn note(&mut self, what: &str, lines: Vec<String>) {
        self.seen.push((what.to_owned(), lines));
    }

    /// Runs the client, the reference's if none was chosen, in the directory; `HOST` is the daemon's
    /// URL, `HOST_OF_NAME` the same for that user. Notes its exit code and words, and what
    /// `arrived` then holds.
    pub fn client(&mut self, args: &[&str], arrived: &[&str]) {
        self.client_of(self.server.port, args, arrived);
    }

    /// The same with a client that takes another port for the daemon's.
    pub fn client_of(&mut self, port: u16, args: &[&str], arrived: &[&str]) {
        let mut command = Command::new(&self.client[0]);
        command.args(&self.client[1..]);
        let url = format!("rsync://127.0.0.1:{port}");
        command.args(args.iter().map(|arg| match arg.split_once("HOST_OF_") {
            Some((_, rest)) => {
                format!("rsync://{}", rest.replacen('/', &format!("@127.0.0.1:{port}/"), 1))
            }
            None => arg.replace("HOST", &url),
        }));
        command.current_dir(&self.dir).env("LC_ALL", "C").env("TZ", "UTC");
        let run = peer::run(command, Vec::new(), LIMIT);
        let place = self.places();
        let mut seen = vec![format!("exit {:?}", run.code)];
        for output in [&run.stdout, &run.stderr] {
            seen.extend(lines::normalise(output, &place));
        }
        // The reference goes while its client still sends, who then finds the connection broken (10);
        // ours waits until the refusal is read (4).
        if seen.iter().any(|line| line.contains("server is configured to refuse")) {
            let end = ["rsync error: ", "exit ", "rsync: [Receiver] read error"];
            seen.retain(|line| !end.iter().any(|words| line.starts_with(words)));
        }
        // Whether the daemon's end or the client's greeting is first decides how the client notices.
        let cut = ["did not see server greeting", "safe_read failed to read 1 bytes"];
        if seen.iter().any(|line| cut.iter().any(|words| line.contains(words))) {
            seen = vec!["cut off before the greeting".to_owned()];
        }
        for dir in arrived {
            let lines = tree_text::dump_with_access(&self.dir.join(dir), self.fresh_from);
            seen.extend(lines.into_iter().map(|line| format!("{dir}: {line}")));
        }
        self.note(&args.join(" "), seen);
    }

    /// Ends the daemon and gives everything that was seen, the log last.
    pub fn end(mut self) -> Vec<(String, Vec<String>)> {
        let log = self.dir.join("log");
        let (mut text, mut since) = (String::new(), Instant::now());
        while since.elapsed() < QUIET {
            let now = std::fs::read(&log).unwrap_or_default();
            let now = String::from_utf8_lossy(&now).into_owned();
            if now != text {
                (text, since) = (now, Instant::now());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let place = self.places();
        self.seen.extend(by_process(&text, &place));
        drop(self.server);
        let _ = std::fs::remove_dir_all(&self.dir);
        self.seen
    }
}

/// What the reference says of its configuration in each connection.
const AT_THE_START: &[&str] =
    &["Badly formed ", "Unknown Parameter encountered", "IGNORING unknown parameter"];

/// The lines of a log, without times, gathered by process; those of the listener are left out.
fn by_process(log: &str, place: &[(String, &str)]) -> Vec<(String, Vec<String>)> {
    let mut groups: Vec<(&str, Vec<String>)> = Vec::new();
    for line in log.lines() {
        let Some((process, said)) =
            line.split_once('[').and_then(|(_, rest)| rest.split_once("] "))
        else {
            continue;
        };
        // Ours says what is wrong with a file once, at the start, with the line and what to do.
        if AT_THE_START.iter().any(|words| said.starts_with(words)) {
            continue;
        }
        let said = match said.starts_with("sent ") {
            true => "sent *".to_owned(),
            false => lines::normalise(format!("{said}\n").as_bytes(), place).concat(),
        };
        match groups.iter_mut().find(|(known, _)| *known == process) {
            Some((_, lines)) => lines.push(said),
            None => groups.push((process, vec![said])),
        }
    }
    let served = groups.into_iter().map(|(_, lines)| lines);
    let served = served.filter(|lines| !lines.iter().any(|line| line.contains(" starting,")));
    served.enumerate().map(|(at, lines)| (format!("log of connection {at}"), lines)).collect()
}

/// Compares what two programs did, part by part.
///
/// # Panics
/// When something differs; all of it is told.
pub fn assert_same(theirs: &[(String, Vec<String>)], ours: &[(String, Vec<String>)]) {
    let mut found = String::new();
    // What different processes say comes in the order of the clock.
    let split = |all: &[String]| -> (Vec<String>, Vec<String>) {
        // A log has what the receiver took beside what the generator made and deleted.
        let receiver = ["rsync: [receiver] ", "recv ", "recv|"];
        all.iter().cloned().partition(|line| receiver.iter().any(|start| line.starts_with(start)))
    };
    let differ = |a: &[String], b: &[String]| {
        let ((a, a_rest), (b, b_rest)) = (split(a), split(b));
        a != b || lines::by_speaker(&a_rest) != lines::by_speaker(&b_rest)
    };
    let pairs = theirs.iter().zip(ours);
    for ((what, theirs), (_, ours)) in pairs.filter(|(a, b)| a.0 != b.0 || differ(&a.1, &b.1)) {
        let lines = |sign: &str, all: &[String], other: &[String]| -> String {
            let own = all.iter().filter(|line| !other.contains(line));
            own.map(|line| format!("{sign} {line}\n")).collect()
        };
        let (mut minus, mut plus) = (lines("-", theirs, ours), lines("+", ours, theirs));
        if minus.is_empty() && plus.is_empty() {
            (minus, plus) = (lines("-", theirs, &[]), lines("+", ours, &[]));
        }
        found.push_str(&format!("{what}:\n{minus}{plus}"));
    }
    assert!(found.is_empty(), "- the reference, + ours:\n{found}");
    assert_eq!(theirs.len(), ours.len(), "one of them did more");
}
