//! Moves bytes between a transport and the roles: frames, messages, timeouts, keep-alives, pace.
//!
//! A connection has one [`LinkReader`] and one [`LinkWriter`], each owned by one role. The
//! descriptors are non-blocking. A role that only reads waits in `poll`; a sender that wants to
//! write while the peer wants to be read does both ([`LinkWriter::flush_reading`]), so that two
//! peers never wait for each other. Other threads hand messages to the writer through
//! [`Posts`], which is a queue and never waits.
//!
//! Not guaranteed: that a message overtakes data already buffered.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use wire::codec::ByteSource;
use wire::exit::ExitCode;
use wire::message::{Message, MessagePolicy};
use wire::mux;
use wire::version::Protocol;

use crate::batch::BatchCopy;
use crate::control::Control;
use crate::fatal::{Fatal, Voice};
use crate::handover::HandedFile;

/// Bytes read from the transport at once.
const READ_CHUNK: usize = 256 * 1024;
/// Bytes of listed files that a slow peer gets through in a second while it is silent: it compares
/// or writes them.
const SLOW_PEER_BYTES_S: u64 = 4 * 1024 * 1024;
/// A read of fewer bytes was probably all the peer had to say.
const SMALL_READ: usize = 4096;
/// Bytes of unread input kept while this side is blocked on writing.
const READ_AHEAD_MAX: usize = 8 * 1024 * 1024;
/// Longest wait before looking whether someone asked to stop.
const STOP_CHECK: Duration = Duration::from_millis(250);
/// Bytes gathered before they are handed to the transport.
const WRITE_CHUNK: usize = 64 * 1024;

/// State both halves share: byte counts and the clock of the last transfer in either direction.
#[derive(Debug)]
pub struct Traffic {
    start: Instant,
    last_ms: AtomicU64,
    /// Time spent waiting for input since something moved that was no keep-alive.
    stalled_ms: AtomicU64,
    timeout_s: AtomicU32,
    read: AtomicU64,
    written: AtomicU64,
    /// Of these, what came before the frames.
    read_bare: AtomicU64,
    written_bare: AtomicU64,
    control: Arc<Control>,
}

impl Traffic {
    /// Fresh counters; `timeout_s` 0 is none. Waits end early when `control` asks for a stop.
    pub fn new(timeout_s: u32, control: Arc<Control>) -> Arc<Traffic> {
        Arc::new(Traffic {
            start: Instant::now(),
            last_ms: AtomicU64::new(0),
            stalled_ms: AtomicU64::new(0),
            timeout_s: AtomicU32::new(timeout_s),
            read: AtomicU64::new(0),
            written: AtomicU64::new(0),
            read_bare: AtomicU64::new(0),
            written_bare: AtomicU64::new(0),
            control,
        })
    }

    /// Bytes read from the transport; once there are frames, since their begin: the reference does
    /// not count what goes before.
    pub fn read(&self) -> u64 {
        let bare = self.read_bare.load(Ordering::Relaxed);
        self.read.load(Ordering::Relaxed).saturating_sub(bare)
    }

    /// Bytes written to the transport, counted the same way.
    pub fn written(&self) -> u64 {
        let bare = self.written_bare.load(Ordering::Relaxed);
        self.written.load(Ordering::Relaxed).saturating_sub(bare)
    }

    /// Adopts a shorter timeout that a daemon told; returns whether it is now in force.
    pub fn adopt_timeout(&self, seconds: i32) -> bool {
        let Ok(told) = u32::try_from(seconds) else { return false };
        let own = self.timeout_s.load(Ordering::Relaxed);
        if told == 0 || told > wire::limits::TIMEOUT_MAX_S || (own != 0 && own <= told) {
            return false;
        }
        self.timeout_s.store(told, Ordering::Relaxed);
        true
    }

    /// Sets the timeout in seconds; 0 is none.
    pub fn set_timeout(&self, seconds: u32) {
        self.timeout_s.store(seconds, Ordering::Relaxed);
    }

    /// Timeout in force, in seconds; 0 is none.
    pub fn timeout_s(&self) -> u32 {
        self.timeout_s.load(Ordering::Relaxed)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn touch(&self) {
        self.last_ms.store(self.now_ms(), Ordering::Relaxed);
    }

    /// Notes that data or a message has moved.
    fn moved(&self) {
        self.stalled_ms.store(0, Ordering::Relaxed);
    }

    /// Adds up a wait that ends now. Errors: nothing but keep-alives has moved for as long as the
    /// caller allows. Time in which this side was busy itself does not count.
    fn waited(&self, begun: Instant) -> Result<(), Fatal> {
        let waited = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let stalled_s = self.stalled_ms.fetch_add(waited, Ordering::Relaxed) / 1000;
        let idle_s = u64::from(self.control.stall_s.load(Ordering::Relaxed));
        let busy_s = self.control.bytes_listed.load(Ordering::Relaxed) / SLOW_PEER_BYTES_S;
        if idle_s == 0 || stalled_s < idle_s.saturating_add(busy_s) {
            return Ok(());
        }
        let text = format!("nothing but keep-alives for {stalled_s} seconds -- exiting");
        Err(Fatal::new(ExitCode::Timeout, text))
    }

    /// How long a wait may last before something must be done: half the timeout.
    fn lull(&self) -> Duration {
        match self.timeout_s() {
            0 => Duration::MAX,
            s => Duration::from_secs(u64::from(s.div_ceil(2))),
        }
    }

    /// Waits for an event on a descriptor for at most half the timeout; false when that passed.
    /// Errors: someone asked to stop, or nothing has moved for the whole timeout.
    fn wait(&self, fd: BorrowedFd<'_>, what: PollFlags) -> Result<bool, Fatal> {
        let end = Instant::now().checked_add(self.lull());
        loop {
            self.control.stopped()?;
            let left = end.map(|end| end.saturating_duration_since(Instant::now()));
            let step = left.map_or(STOP_CHECK, |left| left.min(STOP_CHECK));
            let begun = Instant::now();
            let ready = wait_one(fd, what, Some(step)).map_err(poll_failed)?;
            if what == PollFlags::IN {
                self.waited(begun)?;
            }
            if ready {
                return Ok(true);
            }
            if left.is_some_and(|left| left <= step) {
                self.check_idle()?;
                return Ok(false);
            }
        }
    }

    fn check_idle(&self) -> Result<(), Fatal> {
        let timeout = u64::from(self.timeout_s());
        let idle = self.now_ms().saturating_sub(self.last_ms.load(Ordering::Relaxed)) / 1000;
        if timeout != 0 && idle >= timeout {
            return Err(Fatal::new(
                ExitCode::Timeout,
                format!("io timeout after {idle} seconds -- exiting"),
            ));
        }
        Ok(())
    }
}

/// Frames that other threads want sent; taken by the writer at its next frame border.
#[derive(Default, Debug)]
pub struct Posts {
    queue: Mutex<Vec<u8>>,
    wake: Wake,
    /// Of the session, once it is known.
    protocol: OnceLock<Protocol>,
}

/// Called after each post, for a writer that waits for something else.
#[derive(Default)]
struct Wake(OnceLock<Box<dyn Fn() + Send + Sync>>);

impl std::fmt::Debug for Wake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Wake")
    }
}

impl Posts {
    /// Queues one message.
    pub fn post(&self, message: &Message) {
        if let Ok(mut queue) = self.queue.lock() {
            self.encode(message, &mut queue);
        }
        if let Some(wake) = self.wake.0.get() {
            wake();
        }
    }

    /// Appends a message as the session's protocol has it.
    fn encode(&self, message: &Message, out: &mut Vec<u8>) {
        let protocol = self.protocol.get().copied().unwrap_or(Protocol::NEWEST);
        if let Some(message) = message.clone().in_protocol(protocol) {
            message.encode(out);
        }
    }

    /// From now on each post calls `wake`. Only the first call counts.
    pub fn set_wake(&self, wake: Box<dyn Fn() + Send + Sync>) {
        let _ = self.wake.0.set(wake);
    }

    fn take(&self) -> Vec<u8> {
        match self.queue.lock() {
            Ok(mut queue) => std::mem::take(&mut *queue),
            Err(_) => Vec::new(),
        }
    }
}

/// What the bytes read ahead begin with.
enum Peek {
    Data,
    Message(usize),
    Nothing,
}

/// What a reader does with a message that arrives between data.
pub type OnMessage = Box<dyn FnMut(Message) -> Result<(), Fatal> + Send>;

/// The reading half of a connection.
pub struct LinkReader {
    fd: Arc<OwnedFd>,
    traffic: Arc<Traffic>,
    buf: Vec<u8>,
    pos: usize,
    muxed: bool,
    frame_left: usize,
    policy: MessagePolicy,
    on_message: OnMessage,
    closed: bool,
    reset: bool,
    /// Stream bytes handed out so far, without frames.
    pub taken: u64,
    /// A batch file that gets what is read.
    copy: Option<BatchCopy>,
    /// It is a TCP connection, whose acknowledgements are not to be held back.
    quick_ack: bool,
    /// Within one process: where files come whose content does not travel.
    pub handed: Option<Receiver<HandedFile>>,
}

impl LinkReader {
    /// Wraps the reading descriptor, not yet demultiplexing. `buffered` holds bytes that were read
    /// before the reader existed.
    pub fn new(fd: Arc<OwnedFd>, traffic: Arc<Traffic>, buffered: Vec<u8>) -> LinkReader {
        let _ = rustix::io::ioctl_fionbio(&fd, true);
        let quick_ack = rustix::net::sockopt::set_tcp_quickack(&*fd, true).is_ok();
        LinkReader {
            quick_ack,
            handed: None,
            copy: None,
            taken: 0,
            fd,
            traffic,
            buf: buffered,
            pos: 0,
            muxed: false,
            frame_left: 0,
            policy: MessagePolicy::default(),
            on_message: Box::new(|_| Ok(())),
            closed: false,
            reset: false,
        }
    }

    /// The set-up is over: from now on there are frames, where the peer sends them so; messages go
    /// to `on_message` when `policy` allows them.
    pub fn begin(&mut self, framed: bool, policy: MessagePolicy, on_message: OnMessage) {
        self.muxed = framed;
        let bare = self.traffic.read().saturating_sub(self.available() as u64);
        self.traffic.read_bare.store(bare, Ordering::Relaxed);
        self.policy = policy;
        self.on_message = on_message;
    }

    /// Replaces what happens to messages, when the roles take over.
    pub fn set_on_message(&mut self, on_message: OnMessage) {
        self.on_message = on_message;
    }

    /// From now on stream bytes that are read are copied.
    pub fn copy_to(&mut self, copy: BatchCopy) {
        self.copy = Some(copy);
    }

    /// Completes the copy, where there is one.
    pub fn end_copy(&mut self) -> Result<(), Fatal> {
        self.copy.as_mut().map_or(Ok(()), BatchCopy::finish)
    }

    /// The file that came in place of its content.
    pub fn take_handed(&mut self) -> Option<HandedFile> {
        let handed = self.handed.as_ref()?.try_recv().ok()?;
        let bytes = crate::handover::travel_cost(handed.len);
        self.taken = self.taken.saturating_add(bytes);
        self.traffic.read.fetch_add(bytes, Ordering::Relaxed);
        Some(handed)
    }

    /// What ends the run in the middle of a file, where that is how it stops.
    pub fn cut_off(&self) -> Result<(), Fatal> {
        self.traffic.control.cut_off()
    }

    /// Byte counts and timeout of the connection.
    pub fn traffic(&self) -> &Arc<Traffic> {
        &self.traffic
    }

    fn available(&self) -> usize {
        self.buf.len().saturating_sub(self.pos)
    }

    /// Whether stream data can be read without waiting. Messages that are there are handled on the
    /// way: they are no data, and a caller that waits for them would wait with its own output
    /// unsent.
    pub fn data_ready(&mut self) -> Result<bool, Fatal> {
        loop {
            let enough = match self.peek_frame()? {
                Peek::Data => return Ok(true),
                Peek::Message(len) => self.available() >= 4 + len,
                Peek::Nothing => false,
            };
            if enough {
                self.one_frame()?;
            } else if self.closed {
                return Ok(true);
            } else if self.fill_now()? == 0 && !self.closed {
                return Ok(false);
            }
        }
    }

    /// What the buffered bytes begin with. Empty frames are dropped.
    fn peek_frame(&mut self) -> Result<Peek, Fatal> {
        loop {
            if !self.muxed || self.frame_left > 0 {
                return Ok(if self.available() > 0 { Peek::Data } else { Peek::Nothing });
            }
            let Some(header) = self.buf.get(self.pos..self.pos + 4) else {
                return Ok(Peek::Nothing);
            };
            let header = <[u8; 4]>::try_from(header).unwrap_or_default();
            let (tag, len) = mux::parse(header)?;
            if tag != mux::DATA {
                return Ok(Peek::Message(len));
            }
            self.pos += 4;
            self.frame_left = len;
        }
    }

    /// Reads what is there, without waiting; keeps at most `READ_AHEAD_MAX` unread.
    fn fill_now(&mut self) -> Result<usize, Fatal> {
        if self.pos > 0 && (self.pos == self.buf.len() || self.pos >= READ_CHUNK) {
            self.buf.drain(..self.pos);
            self.pos = 0;
        }
        let old = self.buf.len();
        self.buf.reserve(READ_CHUNK);
        let spare = rustix::buffer::spare_capacity(&mut self.buf);
        match rustix::io::read(&*self.fd, spare) {
            Ok(0) => {
                self.closed = true;
                Ok(0)
            }
            Ok(n) => {
                self.traffic.touch();
                self.traffic.read.fetch_add(n as u64, Ordering::Relaxed);
                self.traffic.control.read.fetch_add(n as u64, Ordering::Relaxed);
                // A peer that gathers small writes waits for an acknowledgement that the kernel
                // would hold back for 40 ms; at the end of a short exchange that is all its time.
                if self.quick_ack && n < SMALL_READ {
                    let _ = rustix::net::sockopt::set_tcp_quickack(&*self.fd, true);
                }
                debug_assert_eq!(self.buf.len(), old + n);
                Ok(n)
            }
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(0),
            Err(rustix::io::Errno::CONNRESET) => {
                (self.closed, self.reset) = (true, true);
                Ok(0)
            }
            Err(error) => Err(Fatal::new(
                ExitCode::SocketIo,
                format!("read error: {}", crate::fatal::errno_text(&io::Error::from(error))),
            )),
        }
    }

    /// Waits until at least one byte is buffered.
    fn fill_wait(&mut self) -> Result<(), Fatal> {
        while self.available() == 0 {
            if self.closed {
                return Err(self.closed_error());
            }
            if self.fill_now()? == 0 && !self.closed {
                self.traffic.wait(self.fd.as_fd(), PollFlags::IN)?;
            }
        }
        Ok(())
    }

    /// Whether the peer has ended its direction, rather than dropped what it was sent.
    pub fn is_at_end(&self) -> bool {
        self.closed && !self.reset
    }

    /// The error for a peer that went away.
    pub fn closed_error(&self) -> Fatal {
        let read = self.traffic.read();
        let text = format!("connection unexpectedly closed ({read} bytes received so far)");
        Fatal { voice: Voice::RoleBehind, ..Fatal::new(ExitCode::StreamIo, text) }
    }

    /// Waits for something to arrive, at most as long as half the timeout; false means it is time
    /// for a keep-alive.
    pub fn wait_input(&mut self) -> Result<bool, Fatal> {
        if self.closed {
            return Ok(true);
        }
        self.traffic.wait(self.fd.as_fd(), PollFlags::IN)
    }

    fn raw(&mut self, out: &mut [u8]) -> Result<(), Fatal> {
        let mut filled = 0;
        while filled < out.len() {
            self.fill_wait()?;
            filled += self.take_into(&mut out[filled..]);
        }
        Ok(())
    }

    fn take_into(&mut self, out: &mut [u8]) -> usize {
        let n = out.len().min(self.available());
        out[..n].copy_from_slice(&self.buf[self.pos..self.pos + n]);
        self.pos += n;
        n
    }

    /// Reads frames until one carries data.
    fn next_frame(&mut self) -> Result<(), Fatal> {
        while self.frame_left == 0 {
            self.one_frame()?;
        }
        Ok(())
    }

    /// Reads one frame's header, and all of it when it is a message.
    fn one_frame(&mut self) -> Result<(), Fatal> {
        let mut header = [0; 4];
        self.raw(&mut header)?;
        let (tag, len) = mux::parse(header)?;
        if tag == mux::DATA {
            self.frame_left = len;
            return Ok(());
        }
        let limit = wire::message::payload_limit(tag)?;
        if len > limit {
            return Err(wire::error::Error::malformed(
                ExitCode::StreamIo,
                "mux-length",
                format!("multiplexing overflow {tag}:{len}"),
            )
            .into());
        }
        let mut payload = vec![0; len];
        self.raw(&mut payload)?;
        let message = Message::decode(tag, &payload, self.policy)?;
        self.handle(message)
    }

    fn handle(&mut self, message: Message) -> Result<(), Fatal> {
        match message {
            Message::IoTimeout(seconds) => {
                self.traffic.adopt_timeout(seconds);
                (self.on_message)(message)
            }
            // An end by error is none with the code of success, of which the low byte is left.
            Message::ErrorExit(Some(code)) if code & 0xff == 0 => {
                Err(Fatal::peer_exit(ExitCode::Protocol.code()))
            }
            Message::ErrorExit(Some(code)) => Err(Fatal::peer_exit(code)),
            Message::ErrorExit(None) => Err(Fatal::peer_exit(0)),
            Message::Noop => Ok(()),
            other => {
                self.traffic.moved();
                (self.on_message)(other)
            }
        }
    }

    /// Reads one text line of the daemon's phase, without LF and CR; not past it.
    pub fn line(&mut self, max: usize) -> Result<Vec<u8>, Fatal> {
        let mut line = Vec::new();
        loop {
            let mut byte = [0];
            self.raw(&mut byte)?;
            match byte[0] {
                b'\n' => return Ok(line),
                b'\r' => {}
                0 => {
                    return Err(Fatal::new(ExitCode::StartClient, "unexpected NUL in a text line"));
                }
                b if line.len() < max => line.push(b),
                _ => return Err(Fatal::new(ExitCode::StartClient, "over-long text line")),
            }
        }
    }

    /// Reads and drops input until the peer closes, answers a farewell with an empty one, or
    /// `limit` passes.
    pub fn drain(&mut self, limit: Duration) {
        let end = Instant::now() + limit;
        let farewell = mux::header(wire::message::ERROR_EXIT_TAG, 0);
        loop {
            let unread = self.buf.get(self.pos..).unwrap_or_default();
            if self.closed || memchr::memmem::find(unread, &farewell).is_some() {
                return;
            }
            // The last bytes may be the beginning of what is looked for.
            self.pos = self.pos.max(self.buf.len().saturating_sub(farewell.len() - 1));
            let Some(left) = end.checked_duration_since(Instant::now()) else { return };
            let ready = wait_one(self.fd.as_fd(), PollFlags::IN, Some(left));
            if !matches!(ready, Ok(true)) || self.fill_now().is_err() {
                return;
            }
        }
    }

    /// Suspends or resumes demultiplexing at a frame's border; whether it was on.
    pub fn set_muxed(&mut self, muxed: bool) -> bool {
        std::mem::replace(&mut self.muxed, muxed)
    }
}

impl ByteSource for LinkReader {
    type Error = Fatal;

    fn read_exact(&mut self, out: &mut [u8]) -> Result<(), Fatal> {
        self.taken += out.len() as u64;
        if !self.muxed {
            return self.raw(out);
        }
        let mut filled = 0;
        while filled < out.len() {
            if self.frame_left == 0 {
                self.next_frame()?;
            }
            let want = (out.len() - filled).min(self.frame_left);
            self.fill_wait()?;
            let n = self.take_into(&mut out[filled..filled + want]);
            filled += n;
            self.frame_left -= n;
            self.traffic.moved();
        }
        if let Some(copy) = &mut self.copy {
            copy.take(out);
            copy.check()?;
        }
        Ok(())
    }
}

/// The writing half of a connection.
pub struct LinkWriter {
    fd: Arc<OwnedFd>,
    traffic: Arc<Traffic>,
    posts: Arc<Posts>,
    /// Bytes ready for the transport.
    ready: Vec<u8>,
    sent: usize,
    /// Data of the stream not yet framed. Roles append to it directly.
    pub data: Vec<u8>,
    muxed: bool,
    /// What is being written is a keep-alive.
    idle: bool,
    /// A batch file that gets what is written.
    copy: Option<BatchCopy>,
    /// What is being written goes only there.
    aside: bool,
    pace: Option<crate::pace::Pace>,
    /// Within one process: where files go whose content does not travel.
    pub hands: Option<Sender<HandedFile>>,
}

impl LinkWriter {
    /// Wraps the writing descriptor, not yet multiplexing.
    pub fn new(fd: Arc<OwnedFd>, traffic: Arc<Traffic>, bwlimit: u64) -> LinkWriter {
        let _ = rustix::io::ioctl_fionbio(&fd, true);
        LinkWriter {
            fd,
            traffic,
            posts: Arc::new(Posts::default()),
            ready: Vec::new(),
            sent: 0,
            data: Vec::new(),
            muxed: false,
            idle: false,
            copy: None,
            aside: false,
            hands: None,
            pace: (bwlimit > 0).then(|| crate::pace::Pace::new(bwlimit)),
        }
    }

    /// The set-up is over: from now on there are frames, where the peer reads them. Data appended
    /// before travels raw.
    pub fn begin(&mut self, framed: bool, protocol: Protocol) {
        self.frame();
        self.muxed = framed;
        let _ = self.posts.protocol.set(protocol);
        self.traffic.written_bare.store(self.written(), Ordering::Relaxed);
    }

    /// The queue other threads post messages to.
    pub fn posts(&self) -> Arc<Posts> {
        self.posts.clone()
    }

    /// Timeout in force, in seconds; 0 is none.
    pub fn timeout_s(&self) -> u32 {
        self.traffic.timeout_s()
    }

    /// How long nothing need be written.
    pub fn keep_alive_after(&self) -> Duration {
        self.traffic.lull()
    }

    /// Bytes written as [`Traffic::written`] counts them, those still gathered included.
    pub fn written(&self) -> u64 {
        let pending = self.data.len() + self.ready.len() - self.sent;
        let bare = self.traffic.written_bare.load(Ordering::Relaxed);
        (self.traffic.written.load(Ordering::Relaxed) + pending as u64).saturating_sub(bare)
    }

    /// Tells the transport that nothing more comes, in both directions where it is a socket: a
    /// reader of the same connection then sees its end.
    pub fn shut_down(&mut self) {
        let _ = rustix::net::shutdown(&*self.fd, rustix::net::Shutdown::Both);
    }

    /// Queues bytes that travel outside the frames.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.frame();
        self.ready.extend_from_slice(bytes);
    }

    /// Queues a message; without frames there is no place for one. It overtakes data not yet framed, as it does in the reference: what a
    /// client prints of deletions comes before the item of their directory.
    pub fn message(&mut self, message: &Message) {
        if !self.muxed {
            return;
        }
        let posts = self.posts.take();
        self.ready.extend_from_slice(&posts);
        self.posts.encode(message, &mut self.ready);
    }

    /// Moves the data gathered so far into frames, so that later messages come after it.
    pub fn frame(&mut self) {
        if let Some(copy) = &mut self.copy {
            copy.take(&self.data);
        }
        if self.aside {
            self.data.clear();
        } else if self.muxed {
            let posts = self.posts.take();
            self.ready.extend_from_slice(&posts);
            for piece in self.data.chunks(mux::DATA_MAX) {
                self.ready.extend_from_slice(&mux::header(mux::DATA, piece.len()));
                self.ready.extend_from_slice(piece);
            }
            self.data.clear();
        } else {
            self.ready.append(&mut self.data);
        }
    }

    /// Hands a file of `len` bytes to the other half in place of its content; gives it back where
    /// that cannot be.
    pub fn hand_over(&mut self, file: File, len: u64, shown: Vec<u8>) -> Result<(), File> {
        let Some(hands) = &self.hands else { return Err(file) };
        hands.try_send(HandedFile { file, len, shown }).map_err(|full| full.into_inner().file)?;
        let bytes = crate::handover::travel_cost(len);
        self.traffic.written.fetch_add(bytes, Ordering::Relaxed);
        self.traffic.control.written.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// From now on data is copied.
    pub fn copy_to(&mut self, copy: BatchCopy) {
        self.copy = Some(copy);
    }

    /// Whether data is copied.
    pub fn copies(&self) -> bool {
        self.copy.is_some()
    }

    /// Begins or ends data that is copied and not sent.
    pub fn set_aside(&mut self, aside: bool) {
        self.frame();
        self.aside = aside;
    }

    /// Completes the copy, where there is one.
    pub fn end_copy(&mut self) -> Result<(), Fatal> {
        self.frame();
        self.copy.as_mut().map_or(Ok(()), BatchCopy::finish)
    }

    /// Whether enough has gathered to be worth a system call.
    pub fn is_full(&self) -> bool {
        self.data.len() + self.ready.len() - self.sent >= WRITE_CHUNK
    }

    /// Sends an empty frame when nothing has been written for half the timeout.
    pub fn keep_alive(&mut self) -> Result<(), Fatal> {
        if self.muxed && self.traffic.timeout_s() != 0 {
            self.frame();
            self.idle = self.sent == self.ready.len();
            self.ready.extend_from_slice(&mux::header(mux::DATA, 0));
            let done = self.flush();
            self.idle = false;
            return done;
        }
        Ok(())
    }

    /// Writes everything gathered, waiting as long as the transport needs.
    pub fn flush(&mut self) -> Result<(), Fatal> {
        self.flush_with(None)
    }

    /// Like [`Self::flush`], and takes in what the peer says meanwhile, so that a peer that must
    /// be read before it reads is.
    pub fn flush_reading(&mut self, reader: &mut LinkReader) -> Result<(), Fatal> {
        self.flush_with(Some(reader))
    }

    fn flush_with(&mut self, mut reader: Option<&mut LinkReader>) -> Result<(), Fatal> {
        self.frame();
        if let Some(copy) = &mut self.copy {
            copy.check()?;
        }
        while self.sent < self.ready.len() {
            let max = self.pace.as_ref().map_or(usize::MAX, crate::pace::Pace::write_max);
            let end = self.ready.len().min(self.sent.saturating_add(max));
            match rustix::io::write(&*self.fd, &self.ready[self.sent..end]) {
                Ok(n) => {
                    self.sent += n;
                    self.traffic.touch();
                    if !self.idle {
                        self.traffic.moved();
                    }
                    self.traffic.written.fetch_add(n as u64, Ordering::Relaxed);
                    self.traffic.control.written.fetch_add(n as u64, Ordering::Relaxed);
                    if let Some(pace) = &mut self.pace {
                        pace.wrote(n);
                        self.traffic.control.cut_off()?;
                    }
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => self.wait_writable(reader.as_deref_mut())?,
                Err(error) => return Err(write_failed(error)),
            }
        }
        self.ready.clear();
        self.sent = 0;
        Ok(())
    }

    fn wait_writable(&mut self, reader: Option<&mut LinkReader>) -> Result<(), Fatal> {
        let reading = reader.filter(|r| !r.closed && r.available() < READ_AHEAD_MAX);
        let Some(reader) = reading else {
            self.traffic.wait(self.fd.as_fd(), PollFlags::OUT)?;
            return Ok(());
        };
        self.traffic.control.stopped()?;
        let begun = Instant::now();
        let timeout = Timespec::try_from(self.traffic.lull().min(STOP_CHECK)).ok();
        let readable = {
            let mut fds =
                [PollFd::new(&*self.fd, PollFlags::OUT), PollFd::new(&*reader.fd, PollFlags::IN)];
            match poll(&mut fds, timeout.as_ref()) {
                Ok(0) => {
                    self.traffic.check_idle()?;
                    false
                }
                Ok(_) => !fds[1].revents().is_empty(),
                Err(rustix::io::Errno::INTR) => false,
                Err(error) => return Err(poll_failed(error.into())),
            }
        };
        if readable {
            reader.fill_now()?;
        }
        self.traffic.waited(begun)
    }
}

fn write_failed(error: rustix::io::Errno) -> Fatal {
    let exit = match error {
        rustix::io::Errno::PIPE | rustix::io::Errno::CONNRESET => ExitCode::StreamIo,
        _ => ExitCode::SocketIo,
    };
    let text = crate::fatal::errno_text(&io::Error::from(error));
    Fatal::new(exit, format!("write error: {text}"))
}

fn poll_failed(error: io::Error) -> Fatal {
    Fatal::new(ExitCode::SocketIo, format!("poll failed: {error}"))
}

/// Waits for one event on one descriptor; false when the time passed first.
fn wait_one(fd: BorrowedFd<'_>, what: PollFlags, limit: Option<Duration>) -> io::Result<bool> {
    let timeout = limit.and_then(|d| Timespec::try_from(d).ok());
    let mut fds = [PollFd::from_borrowed_fd(fd, what)];
    loop {
        match poll(&mut fds, timeout.as_ref()) {
            Ok(n) => return Ok(n > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
