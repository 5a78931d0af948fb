//! `livemirror serve --status`, and the daemon's side of it.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use mirror::serve_status::DaemonStatus;
use mirror::status::{self, Answerer, NoServer, Server};
use rsync::daemon::tally::Tally;

use crate::console;

/// How long one wait for somebody who asks may last; longer or shorter makes no difference.
const WAIT_MS: u32 = 3_600_000;

/// Answers for a daemon while it runs.
#[derive(Default)]
pub(crate) struct Desk(Mutex<Option<Arc<Server>>>);

impl Desk {
    /// Begins, in a thread of its own, so that the listener never waits for who asks. Gives what to
    /// tell if that is not possible; the daemon does without.
    pub(crate) fn open(
        &self,
        socket: Option<&[u8]>,
        port: u16,
        tally: &Arc<Tally>,
    ) -> Option<String> {
        let failed = |why: String| Some(format!("there will be no status: {why}"));
        let Some(path) = path(socket, port) else {
            return failed("XDG_RUNTIME_DIR is not set; name a socket with --socket".into());
        };
        let server = match Server::bind(Answerer::Daemon, &path) {
            Ok(server) => Arc::new(server),
            Err(NoServer::Taken(why) | NoServer::Failed(why)) => return failed(why),
        };
        let (answering, tally, began) = (server.clone(), tally.clone(), SystemTime::now());
        let answer = move || loop {
            answering.serve(WAIT_MS, &|| DaemonStatus::new(port, began, &tally.snapshot()));
        };
        if let Err(error) = std::thread::Builder::new().name("status".into()).spawn(answer) {
            return failed(error.to_string());
        }
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(server);
        None
    }

    /// Leaves no socket behind.
    pub(crate) fn close(&self) {
        if let Some(server) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            server.unlink();
        }
    }
}

fn path(socket: Option<&[u8]>, port: u16) -> Option<PathBuf> {
    match socket {
        Some(path) => Some(OsStr::from_bytes(path).into()),
        None => status::default_socket(Answerer::Daemon, &port.to_string()),
    }
}

/// Asks one daemon, or all of this user.
pub(crate) fn ask(socket: Option<&[u8]>, port: Option<u16>, json: bool) -> i32 {
    let sockets: Vec<PathBuf> = match (socket, port) {
        (None, None) => status::sockets(Answerer::Daemon),
        (socket, port) => path(socket, port.unwrap_or_default()).into_iter().collect(),
    };
    let named = socket.is_some() || port.is_some();
    let mut answers = 0;
    for socket in sockets {
        let answer = status::query(Answerer::Daemon, &socket);
        let text = answer.and_then(|text| match json {
            true => Ok(format!("{}\n", text.trim_end())),
            false => DaemonStatus::parse(&text).map(|status| status.text()),
        });
        match text {
            Ok(text) => {
                answers += 1;
                console::out(text.as_bytes());
            }
            // What a daemon that was killed has left behind is no daemon.
            Err(_) if !named => {}
            Err(text) => {
                console::err(format!("livemirror: {text}\n").as_bytes());
                return 1;
            }
        }
    }
    if answers == 0 {
        console::err(b"livemirror: no daemon is running\n");
    }
    i32::from(answers == 0)
}
