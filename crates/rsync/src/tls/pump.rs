//! Between the network and the engine: the handshake, then both directions.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustls::Connection;

/// Bytes of the engine that are taken at once.
const PIECE: usize = 16 * 1024;
/// How long the other side may take to close once the engine has ended.
const LINGER: Duration = Duration::from_secs(10);

/// Completes the handshake within `limit` over all of it.
///
/// # Errors
/// One line of text: the certificate is not accepted, or the other side speaks no TLS or is slow.
pub fn handshake(tls: &mut Connection, tcp: &mut TcpStream, limit: Duration) -> Result<(), String> {
    let deadline = Instant::now().checked_add(limit);
    let told = |error: io::Error| error.to_string();
    tcp.set_nonblocking(true).map_err(told)?;
    while tls.is_handshaking() || tls.wants_write() {
        let write = tls.wants_write();
        let flags = if write { PollFlags::OUT } else { PollFlags::IN };
        let left = deadline.map(|end| end.saturating_duration_since(Instant::now()));
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        let ready = poll(&mut [PollFd::new(&*tcp, flags)], left.as_ref());
        if ready.map_err(|error| told(error.into()))? == 0 {
            return Err("no answer in time".into());
        }
        let moved = if write { tls.write_tls(tcp) } else { tls.read_tls(tcp) };
        match moved {
            Ok(0) if !write => return Err("the other side closed the connection".into()),
            Ok(_) => {}
            Err(error) if is_passing(&error) => continue,
            Err(error) => return Err(told(error)),
        }
        if let Err(error) = tls.process_new_packets() {
            // The alert tells the other side; if it cannot be sent, the close does.
            let _ = tls.write_tls(tcp);
            return Err(told_in_one_line(&error));
        }
    }
    Ok(())
}

fn told_in_one_line(error: &rustls::Error) -> String {
    use rustls::CertificateError::{
        Expired, ExpiredContext, NotValidForName, NotValidForNameContext, UnknownIssuer,
    };
    let text = match error {
        rustls::Error::InvalidCertificate(why) => match why {
            Expired | ExpiredContext { .. } => "the certificate of the other side has expired",
            NotValidForName | NotValidForNameContext { .. } => {
                "the certificate of the other side is for another name"
            }
            UnknownIssuer => {
                "the certificate of the other side comes from nobody who is trusted here"
            }
            // An authority's own certificate is none of a daemon's.
            rustls::CertificateError::Other(_) => {
                "the certificate of the other side cannot be used; perhaps it is self-signed"
            }
            _ => "",
        },
        _ => "",
    };
    match text {
        "" => error.to_string().replace('\n', " "),
        text => text.to_owned(),
    }
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// Both ends and what is between them.
struct Pump {
    tls: Connection,
    tcp: TcpStream,
    plain: UnixStream,
    /// Bytes for the engine.
    pending: Vec<u8>,
    /// The engine has said all.
    plain_ended: bool,
    /// The other side has said all.
    tcp_ended: bool,
    /// The end of each direction was passed on.
    told_tcp: bool,
    told_plain: bool,
}

/// Carries bytes both ways until both directions have ended.
pub fn run(tls: Connection, tcp: TcpStream, plain: UnixStream) -> io::Result<()> {
    tcp.set_nonblocking(true)?;
    plain.set_nonblocking(true)?;
    let mut pump = Pump {
        tls,
        tcp,
        plain,
        pending: Vec::new(),
        plain_ended: false,
        tcp_ended: false,
        told_tcp: false,
        told_plain: false,
    };
    // What came together with the end of the handshake.
    pump.take_decrypted()?;
    while pump.step()? {}
    Ok(())
}

impl Pump {
    /// Waits until something can be done and does it; `false` when all is done.
    fn step(&mut self) -> io::Result<bool> {
        self.pass_ends();
        let tcp_in = !self.tcp_ended && self.pending.is_empty();
        let tcp_out = self.tls.wants_write();
        let plain_in = !self.plain_ended && !tcp_out;
        let plain_out = !self.pending.is_empty();
        if !tcp_in && !tcp_out && !plain_in && !plain_out {
            return Ok(false);
        }
        let flags = |read: bool, write: bool| {
            let read = if read { PollFlags::IN } else { PollFlags::empty() };
            read | if write { PollFlags::OUT } else { PollFlags::empty() }
        };
        let (tcp, plain) = (flags(tcp_in, tcp_out), flags(plain_in, plain_out));
        let mut watched = Vec::with_capacity(2);
        // A descriptor that nothing is wanted of would wake for its end all the time.
        if !tcp.is_empty() {
            watched.push(PollFd::new(&self.tcp, tcp));
        }
        if !plain.is_empty() {
            watched.push(PollFd::new(&self.plain, plain));
        }
        let linger = Timespec::try_from(LINGER).ok().filter(|_| self.plain_ended);
        match poll(&mut watched, linger.as_ref()) {
            Ok(0) => return Ok(false),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        // All four are tried: a descriptor that is not ready says so.
        if tcp_out {
            passing(self.tls.write_tls(&mut self.tcp))?;
        }
        if plain_out {
            self.give()?;
        }
        if plain_in {
            self.take_plain()?;
        }
        if tcp_in {
            self.take_tcp()?;
        }
        Ok(true)
    }

    fn pass_ends(&mut self) {
        if self.plain_ended && !self.told_tcp && !self.tls.wants_write() {
            let _ = self.tcp.shutdown(Shutdown::Write);
            self.told_tcp = true;
        }
        if self.tcp_ended && !self.told_plain && self.pending.is_empty() {
            let _ = self.plain.shutdown(Shutdown::Write);
            self.told_plain = true;
        }
    }

    fn give(&mut self) -> io::Result<()> {
        match self.plain.write(&self.pending) {
            Ok(count) => drop(self.pending.drain(..count.min(self.pending.len()))),
            Err(error) if is_passing(&error) => {}
            // The engine has gone: what comes is for nobody.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => self.pending.clear(),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn take_plain(&mut self) -> io::Result<()> {
        let mut piece = [0; PIECE];
        match self.plain.read(&mut piece) {
            Ok(0) => {
                self.plain_ended = true;
                self.tls.send_close_notify();
            }
            Ok(count) => {
                self.tls.writer().write_all(piece.get(..count).unwrap_or_default())?;
            }
            Err(error) if is_passing(&error) => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                self.plain_ended = true;
                self.tls.send_close_notify();
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn take_tcp(&mut self) -> io::Result<()> {
        match self.tls.read_tls(&mut self.tcp) {
            Ok(0) => self.tcp_ended = true,
            Ok(_) => {
                if let Err(error) = self.tls.process_new_packets() {
                    let _ = self.tls.write_tls(&mut self.tcp);
                    return Err(io::Error::other(error));
                }
                self.take_decrypted()?;
            }
            Err(error) if is_passing(&error) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// All that is decrypted: bounded by what one read brings.
    fn take_decrypted(&mut self) -> io::Result<()> {
        let mut piece = [0; PIECE];
        loop {
            match self.tls.reader().read(&mut piece) {
                Ok(0) => {
                    self.tcp_ended = true;
                    return Ok(());
                }
                Ok(count) => {
                    self.pending.extend_from_slice(piece.get(..count).unwrap_or_default());
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    self.tcp_ended = true;
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
    }
}

fn passing(done: io::Result<usize>) -> io::Result<()> {
    match done {
        Ok(_) => Ok(()),
        Err(error) if is_passing(&error) => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::sync::Arc;

    use rustls::pki_types::ServerName;
    use rustls::{ClientConfig, ClientConnection, RootCertStore};

    use super::*;

    fn client() -> Connection {
        let config = ClientConfig::builder_with_provider(super::super::provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").unwrap();
        ClientConnection::new(Arc::new(config), name).unwrap().into()
    }

    #[test]
    fn a_handshake_has_a_deadline_and_ends_with_noise() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let connect = || TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let begin = Instant::now();
        let limit = Duration::from_millis(200);
        // One byte now and then gains nothing.
        let mut tcp = connect();
        let (mut peer, _) = listener.accept().unwrap();
        let drip = std::thread::spawn(move || {
            while peer.write_all(b"\x16").is_ok() && begin.elapsed() < Duration::from_secs(2) {
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        assert!(handshake(&mut client(), &mut tcp, limit).is_err());
        assert!(begin.elapsed() < Duration::from_secs(2));
        drop(tcp);
        drip.join().unwrap();
        let mut tcp = connect();
        let (mut peer, _) = listener.accept().unwrap();
        peer.write_all(b"@RSYNCD: 32.0 sha512\n").unwrap();
        let said = handshake(&mut client(), &mut tcp, Duration::from_secs(10)).unwrap_err();
        assert!(!said.contains('\n') && said.contains("corrupt"), "{said}");
    }
}
