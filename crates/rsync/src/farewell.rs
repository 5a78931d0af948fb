//! Telling the peer that this side ends early, so that it ends with the same code.

use std::time::Duration;

use wire::exit::ExitCode;
use wire::message::Message;

use crate::fatal::Fatal;
use crate::link::{LinkReader, LinkWriter};
use crate::setup::Agreed;

/// Says the exit code, where the protocol knows how and the peer can still be talked to. A code
/// that came from the peer is answered empty.
pub fn announce(agreed: &Agreed, writer: &mut LinkWriter, fatal: &Fatal) {
    let unsaid = matches!(
        fatal.exit,
        ExitCode::Ok
            | ExitCode::SocketIo
            | ExitCode::StreamIo
            | ExitCode::Sigusr1
            | ExitCode::Timeout
    );
    let unsaid = (unsaid || fatal.unannounced) && !fatal.from_peer;
    if unsaid {
        return;
    }
    if agreed.protocol.has_error_exit() {
        let code = (!fatal.from_peer).then(|| fatal.exit.code());
        writer.message(&Message::ErrorExit(code));
    }
    // What was said before goes in any case.
    let _ = writer.flush();
}

/// After an error of this side: reads on until the peer has closed, so that what was said is not
/// lost with the connection. A peer that cannot be told the code learns by the close alone that it
/// is over.
pub fn wait_for_peer(agreed: &Agreed, reader: &mut LinkReader, fatal: &Fatal) {
    if !agreed.protocol.has_error_exit() {
        return;
    }
    if !fatal.from_peer && fatal.exit != ExitCode::StreamIo && fatal.exit != ExitCode::SocketIo {
        reader.drain(Duration::from_secs(10));
    }
}
