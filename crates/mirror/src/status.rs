//! What is going on, on request: a snapshot of every sync over a local socket.
//!
//! The running mirror answers each connection with one JSON object and closes; [`query`] is the
//! asking side; a daemon (`serve_status`) answers the same way. The socket is the operator's own
//! path, in a directory only the operator can write; who connects as another user, and not as root,
//! is told nothing.
//! Not guaranteed: an answer while the process is stopped; a client that does not read within a
//! second is dropped.

use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::report::seconds;

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answerer {
    /// A mirror, by the name of its configuration.
    Mirror,
    /// A daemon, by its port.
    Daemon,
}

impl Answerer {
    fn noun(self) -> &'static str {
        match self {
            Answerer::Mirror => "mirror",
            Answerer::Daemon => "daemon",
        }
    }

    /// What the names of its sockets end with.
    fn ending(self) -> &'static str {
        match self {
            Answerer::Mirror => "sock",
            Answerer::Daemon => "daemon",
        }
    }
}

/// What a sync is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SyncState {
    /// The watch is being set up.
    #[default]
    Starting,
    /// The first comparison of everything.
    FirstPass,
    /// A later comparison of everything.
    Comparing,
    /// A batch is under way.
    Sending,
    /// Something is owed that cannot be sent now: a file still open, or a failure to be tried again.
    Waiting,
    /// Nothing is owed: the target is equal.
    Idle,
    /// Ended.
    Stopped,
}

/// A failure that was seen, with what would help.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastError {
    /// When, in UTC.
    pub at: String,
    /// What failed.
    pub text: String,
    /// What would help; may be empty.
    pub remedy: String,
}

/// One sync at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncStatus {
    /// Its name.
    pub name: String,
    /// Its source.
    pub source: String,
    /// Its target.
    pub target: String,
    /// Its back-end, empty before it is open.
    pub backend: String,
    /// What it is doing.
    pub state: SyncState,
    /// Paths owed to the target, those under way included.
    pub queue: u64,
    /// Age of the oldest change that is owed, in milliseconds.
    pub oldest_ms: Option<u64>,
    /// When a transfer last succeeded, in UTC.
    pub last_success: Option<String>,
    /// The last failure, kept until the next success.
    pub last_error: Option<LastError>,
    /// Events taken in.
    pub events: u64,
    /// Times events were lost.
    pub overflows: u64,
    /// Comparisons of everything that were done.
    pub passes: u64,
    /// Batches that were sent.
    pub batches: u64,
    /// Files whose content was sent.
    pub files: u64,
    /// Bytes of those files.
    pub bytes: u64,
    /// Items deleted at the target.
    pub deleted: u64,
}

/// A whole mirror at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The configuration's name.
    pub name: String,
    /// The process.
    pub pid: u32,
    /// Its syncs, in the order of the configuration.
    pub syncs: Vec<SyncStatus>,
}

impl Status {
    /// Text for people, some lines.
    pub fn text(&self) -> String {
        let mut out = format!("{} (process {})\n", self.name, self.pid);
        for sync in &self.syncs {
            let state = serde_json::to_value(sync.state).unwrap_or_default();
            let age = sync.oldest_ms.map_or_else(String::new, |ms| {
                format!(", oldest change unsent for {}", seconds(ms))
            });
            out.push_str(&format!(
                "  {}: {}, {} queued{age}\n    {} -> {} ({})\n    last success {}; sent {} files \
                 in {} batches and {} passes, deleted {}\n",
                sync.name,
                state.as_str().unwrap_or_default(),
                sync.queue,
                sync.source,
                sync.target,
                sync.backend,
                sync.last_success.as_deref().unwrap_or("never"),
                sync.files,
                sync.batches,
                sync.passes,
                sync.deleted,
            ));
            if let Some(error) = &sync.last_error {
                out.push_str(&format!("    last error {}: {}\n", error.at, error.text));
                if !error.remedy.is_empty() {
                    out.push_str(&format!("    remedy: {}\n", error.remedy));
                }
            }
        }
        out
    }
}

/// The directory of sockets: `/run/livemirror` for root, else below `XDG_RUNTIME_DIR`. `None` when
/// that is not set.
pub fn socket_dir() -> Option<PathBuf> {
    if rustix::process::geteuid().is_root() {
        return Some(PathBuf::from("/run/livemirror"));
    }
    let dir = std::env::var_os("XDG_RUNTIME_DIR").filter(|d| !d.is_empty())?;
    Some(PathBuf::from(dir).join("livemirror"))
}

/// The socket of this name, where [`socket_dir`] has one.
pub fn default_socket(who: Answerer, name: &str) -> Option<PathBuf> {
    Some(socket_dir()?.join(format!("{name}.{}", who.ending())))
}

/// All sockets in [`socket_dir`], in order of name; some may be left over.
pub fn sockets(who: Answerer) -> Vec<PathBuf> {
    let Some(entries) = socket_dir().and_then(|dir| std::fs::read_dir(dir).ok()) else {
        return Vec::new();
    };
    let mut all: Vec<PathBuf> = entries
        .filter_map(|e| Some(e.ok()?.path()))
        .filter(|p| p.extension().is_some_and(|x| x == who.ending()))
        .collect();
    all.sort();
    all
}

/// Asks at `socket`; returns the JSON, one object. Errors: a line that says what to do.
pub fn query(who: Answerer, socket: &Path) -> Result<String, String> {
    let (shown, noun) = (socket.display(), who.noun());
    let hint = |e: io::Error| match e.kind() {
        io::ErrorKind::NotFound => format!("{shown}: no {noun} runs by this name"),
        io::ErrorKind::ConnectionRefused => {
            format!("{shown}: the {noun} that made this socket has ended")
        }
        io::ErrorKind::PermissionDenied => {
            format!("{shown}: permission denied; ask as the user who runs the {noun}")
        }
        _ => format!("{shown}: {e}"),
    };
    let stream = UnixStream::connect(socket).map_err(hint)?;
    let limit = Some(Duration::from_secs(5));
    stream.set_read_timeout(limit).map_err(|e| format!("{shown}: {e}"))?;
    let mut json = String::new();
    stream.take(ANSWER_MAX).read_to_string(&mut json).map_err(|e| format!("{shown}: {e}"))?;
    if json.is_empty() {
        return Err(format!("{shown}: no answer"));
    }
    Ok(json)
}

/// Understands the answer of [`query`].
pub fn parse(json: &str) -> Result<Status, String> {
    serde_json::from_str(json).map_err(|e| format!("the answer is not understood: {e}"))
}

/// The answering side; removes its socket when dropped.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
    /// A mirror had left its socket here: it was killed, perhaps a moment ago.
    pub after_killed: bool,
}

/// Why there is no answering side.
#[derive(Debug, PartialEq, Eq)]
pub enum NoServer {
    /// Another one answers at this path: it runs already.
    Taken(String),
    /// The socket cannot be made; one can do without.
    Failed(String),
}

impl Server {
    /// Makes the socket, over one that was left by a process that has ended.
    pub fn bind(who: Answerer, path: &Path) -> Result<Server, NoServer> {
        let failed = |e: io::Error| NoServer::Failed(format!("{}: {e}", path.display()));
        if UnixStream::connect(path).is_ok() {
            return Err(NoServer::Taken(format!(
                "a {} of this name runs already (it answers at {})",
                who.noun(),
                path.display()
            )));
        }
        if let Some(dir) = path.parent().filter(|d| !d.as_os_str().is_empty() && !d.exists()) {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
        }
        let after_killed = std::fs::symlink_metadata(path).is_ok_and(|m| {
            use std::os::unix::fs::FileTypeExt as _;
            m.file_type().is_socket()
        });
        if after_killed {
            std::fs::remove_file(path).map_err(failed)?;
        }
        let listener = UnixListener::bind(path).map_err(failed)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        Ok(Server { listener, path: path.to_path_buf(), after_killed })
    }

    /// Removes the socket, for a process that ends while this waits.
    pub fn unlink(&self) {
        let _ = std::fs::remove_file(&self.path);
    }

    /// Waits up to `timeout_ms` milliseconds and answers who asked meanwhile.
    pub fn serve<T: Serialize>(&self, timeout_ms: u32, status: &dyn Fn() -> T) {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let mut fds = [PollFd::new(&self.listener, PollFlags::IN)];
        let nanos = i64::from(timeout_ms % 1000) * 1_000_000;
        let limit = Timespec { tv_sec: i64::from(timeout_ms / 1000), tv_nsec: nanos };
        if !matches!(poll(&mut fds, Some(&limit)), Ok(1..)) {
            return;
        }
        while let Ok((mut stream, _)) = self.listener.accept() {
            if !is_own(&stream) {
                continue;
            }
            let mut json = serde_json::to_vec(&status()).unwrap_or_default();
            json.push(b'\n');
            // Who asks and goes away, or does not read, harms nobody but himself.
            let _ = stream.set_nonblocking(false);
            let _ = stream.set_write_timeout(Some(Duration::from_secs(1)));
            let _ = stream.write_all(&json);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.unlink();
    }
}

/// Whether the other side is this user or root. The modes of socket and directory keep others out
/// as well; but the operator may have named a directory that is open to all, and between the making
/// of a socket and the change of its mode is a moment.
fn is_own(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid();
    rustix::net::sockopt::socket_peercred(stream)
        .is_ok_and(|peer| peer.uid.is_root() || peer.uid == own)
}

/// Bytes of an answer: some ten thousand syncs.
const ANSWER_MAX: u64 = 8 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_goes_over_the_socket_and_back() {
        // A failure would leave an operator blind, or two mirrors on one name.
        let dir = std::env::temp_dir().join(format!("lm-status-{}", std::process::id()));
        let path = dir.join("x.sock");
        std::fs::create_dir_all(&dir).unwrap();
        drop(UnixListener::bind(&path).unwrap());
        let server = Server::bind(Answerer::Mirror, &path).unwrap();
        let sync = SyncStatus {
            name: "www".into(),
            state: SyncState::FirstPass,
            queue: 3,
            oldest_ms: Some(1500),
            last_error: Some(LastError { remedy: "start it".into(), ..LastError::default() }),
            ..SyncStatus::default()
        };
        let status = Status { name: "x".into(), pid: 7, syncs: vec![sync] };
        let answer = std::thread::scope(|scope| {
            let asked = scope.spawn(|| query(Answerer::Mirror, &path).unwrap());
            server.serve(5000, &|| status.clone());
            asked.join().unwrap()
        });
        assert_eq!(parse(&answer).unwrap(), status);
        assert!(answer.contains("\"state\":\"first-pass\""));
        let text = status.text();
        assert!(text.contains("first-pass, 3 queued, oldest change unsent for 1.5 s"), "{text}");
        assert!(text.contains("remedy: start it"));
        assert!(matches!(Server::bind(Answerer::Mirror, &path), Err(NoServer::Taken(_))));
        drop(server);
        assert!(query(Answerer::Mirror, &path).unwrap_err().contains("no mirror runs"));
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
