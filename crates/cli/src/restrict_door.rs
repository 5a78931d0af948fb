//! `livemirror restrict`: the forced command of an ssh key that may reach one directory.

use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;
use std::sync::Arc;

use rsync::control::Control;
use rsync::restrict::{self, Denied, Refused};
use rsync::transport::Streams;
use wire::exit::ExitCode;

use crate::console::{self, Terminal};
use crate::signals;

/// What the door says of itself.
const HELP: &str = "\
livemirror restrict [-ro|-wo] [-munge] [-absolute] [-no-del] [-no-lock] [-no-overwrite] DIR

The forced command of an ssh key that may copy from and to DIR and nothing else, in place of rrsync:
  command=\"livemirror restrict DIR\",restrict ssh-ed25519 AAAA...   in ~/.ssh/authorized_keys

  -ro            only reading; implies -no-del and -no-lock
  -wo            only writing
  -munge         symlinks are unusable while they lie in DIR (--munge-links)
  -absolute      paths of the client may begin with the absolute path of DIR
  -no-del        no --delete* and --remove* options
  -no-lock       several runs at once
  -no-overwrite  files that exist stay as they are (--ignore-existing)

DIR is absolute, or seen from the user's home directory. A path of the client begins at DIR, with a
slash in front or without, and so does a path that an option names; `..` is refused.
";

/// Runs the door; the exit code.
pub(crate) fn run(args: &[Vec<u8>]) -> i32 {
    let grants = match restrict::parse(args) {
        Ok(Some(grants)) => grants,
        Ok(None) => {
            console::out(HELP.as_bytes());
            return 0;
        }
        Err(refused) => return denied(&refused),
    };
    let command = std::env::var_os("SSH_ORIGINAL_COMMAND");
    let Some(command) = command.filter(|text| !text.is_empty()) else {
        return say("Not invoked via sshd");
    };
    let stdio = |fd: std::os::fd::BorrowedFd<'_>| fd.try_clone_to_owned().map(Arc::new);
    let streams = match (stdio(std::io::stdin().as_fd()), stdio(std::io::stdout().as_fd())) {
        (Ok(input), Ok(output)) => Streams { input, output, child: None },
        _ => return ExitCode::Ipc.code(),
    };
    let control = Arc::new(Control::default());
    signals::stop_on_signal(&control);
    let terminal = Arc::new(Terminal);
    match restrict::prepare(&grants, &command.into_vec(), streams, terminal, control) {
        Ok(None) => 0,
        Ok(Some(admission)) => {
            let end = rsync::server::run(admission.run);
            drop(admission.lock);
            end.exit.code()
        }
        Err(Denied::Restricted(refused)) => denied(&refused),
        Err(Denied::Usage(error)) => {
            console::err(&error.rendered());
            error.exit.code()
        }
    }
}

fn denied(refused: &Refused) -> i32 {
    say(&refused.text())
}

fn say(text: &str) -> i32 {
    // What a client wrote is shown without its control bytes.
    let text: String = text.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    console::err(format!("livemirror restrict error: {text}\n").as_bytes());
    ExitCode::Syntax.code()
}
