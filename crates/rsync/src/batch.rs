//! Batch files: what a sender sent, kept for other destinations.
//!
//! A client that writes one copies the stream from sender to receiver into it, from the first byte
//! of the list on, behind a head of option bits, protocol, compatibility flags and seed; a script
//! beside it repeats the command. A client that reads one is a receiving side whose sender is the
//! file: nobody hears what its generator asks for, so [`Wants`] tells the receiver instead.
//!
//! What a batch holds is a peer's data: it goes through the same decoders and checks. Where the
//! reference waits without end for what a cut file no longer brings, this ends with a code.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use tree::operator::{self, Access};
use wire::codec::{ByteSource, get_i32, put_i32, put_varint};
use wire::exit::ExitCode;
use wire::handshake::CompatFlags;
use wire::version::Protocol;

use crate::client::{Client, Open};
use crate::control::Control;
use crate::fatal::{Fatal, errno_text};
use crate::link::{LinkReader, LinkWriter, Traffic};
use crate::location::Location;
use crate::options::{Append, Options};
use crate::report::messages::Role;
use crate::setup::{self, Agreed};

/// Longest wait for the generator before looking whether someone asked to stop.
const STOP_CHECK: Duration = Duration::from_millis(250);

/// Files of a batch that are open, before anything is written.
pub(crate) struct Writing {
    script: File,
    data: File,
    rules: Vec<Vec<u8>>,
    dest: Vec<u8>,
}

impl Writing {
    /// Opens both files; none where no batch is written. `last` is the last operand.
    pub(crate) fn open(
        opts: &Options,
        rules: Vec<Vec<u8>>,
        last: &Location,
    ) -> Result<Option<Writing>, Fatal> {
        let Some(name) = &opts.batch.write else { return Ok(None) };
        let script = open_new(&[name, &b".sh"[..]].concat(), 0o700, ExitCode::FileSelect)?;
        let data = open_new(name, 0o600, ExitCode::FileIo)?;
        if rules.iter().any(|rule| rule.contains(&b'\n')) {
            let text = "cannot write a filter rule containing a newline to the batch replay script";
            return Err(Fatal::bare(ExitCode::Syntax, text));
        }
        let dest = match last {
            Location::Local(path) | Location::Shell { path, .. } => path.clone(),
            Location::Daemon { module_path, .. } => module_path.clone(),
        };
        Ok(Some(Writing { script, data, rules, dest }))
    }

    /// Writes the script and the head of the batch; what follows is copied to the result.
    pub(crate) fn begin(mut self, opts: &Options, agreed: &Agreed) -> Result<BatchCopy, Fatal> {
        let script = crate::batch_script::script(opts, &self.rules, &self.dest);
        let failed = |e: io::Error| Fatal::new(ExitCode::FileIo, write_error(&e));
        self.script.write_all(&script).map_err(failed)?;
        let mut head = Vec::new();
        put_i32(&mut head, bits_of(opts));
        put_i32(&mut head, agreed.protocol.number());
        put_varint(&mut head, agreed.compat.0.cast_signed());
        put_i32(&mut head, agreed.transfer_sum.seed);
        let mut copy = BatchCopy { out: BufWriter::new(self.data), failed: None };
        copy.take(&head);
        Ok(copy)
    }
}

fn write_error(error: &io::Error) -> String {
    format!("write error on the batch file: {}", errno_text(error))
}

/// The copy of a stream.
pub struct BatchCopy {
    out: BufWriter<File>,
    failed: Option<io::Error>,
}

impl BatchCopy {
    /// Adds bytes; a failure is kept for [`Self::check`].
    pub fn take(&mut self, bytes: &[u8]) {
        if self.failed.is_none() {
            self.failed = self.out.write_all(bytes).err();
        }
    }

    /// Errors: something could not be written.
    pub fn check(&mut self) -> Result<(), Fatal> {
        match self.failed.take() {
            None => Ok(()),
            Some(error) => Err(Fatal::new(ExitCode::FileIo, write_error(&error))),
        }
    }

    /// Writes what is left.
    pub fn finish(&mut self) -> Result<(), Fatal> {
        self.check()?;
        self.out.flush().map_err(|e| Fatal::new(ExitCode::FileIo, write_error(&e)))
    }
}

/// A name as messages show it: below the working directory.
fn shown(name: &[u8]) -> Vec<u8> {
    match name.starts_with(b"/") {
        true => name.to_vec(),
        false => [&crate::location::cwd(), &b"/"[..], name].concat(),
    }
}

fn open_failed(name: &[u8], exit: ExitCode, error: &io::Error) -> Fatal {
    let cause = errno_text(error);
    let text = [b"Batch file \"", &shown(name)[..], b"\" open error: ", cause.as_bytes()].concat();
    Fatal::new(exit, text).of(Role::SoleReceiver)
}

fn open_new(name: &[u8], mode: u32, exit: ExitCode) -> Result<File, Fatal> {
    let opened = operator::open(name, Access::ReadWrite { mode })
        .and_then(|file| file.set_len(0).map(|()| file));
    opened.map_err(|error| open_failed(name, exit, &error))
}

/// Opens what is read: a file, a FIFO or the standard input.
fn open_read(name: &[u8]) -> Result<File, Fatal> {
    if name == b"-" {
        let stdin = io::stdin().as_fd().try_clone_to_owned();
        return stdin.map(File::from).map_err(|e| open_failed(name, ExitCode::FileIo, &e));
    }
    let neither = || {
        let text = [b"Batch file \"", &shown(name)[..], b"\" is neither a regular file nor a FIFO"];
        Fatal::bare(ExitCode::FileIo, text.concat()).of(Role::SoleReceiver)
    };
    let file = operator::open_trusted(name).map_err(|error| match error.raw_os_error() {
        Some(libc::EISDIR) => neither(),
        _ => open_failed(name, ExitCode::FileIo, &error),
    })?;
    let kind = file.metadata().map_err(|e| open_failed(name, ExitCode::FileIo, &e))?.file_type();
    match kind.is_file() || kind.is_fifo() {
        true => Ok(file),
        false => Err(neither()),
    }
}

/// Reads the head, without a buffer: what follows belongs to the connection.
struct Head(File);

impl ByteSource for Head {
    type Error = Fatal;

    fn read_exact(&mut self, out: &mut [u8]) -> Result<(), Fatal> {
        self.0.read_exact(out).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                let text = "connection unexpectedly closed (0 bytes received so far) [Receiver]";
                Fatal::program(ExitCode::StreamIo, text)
            }
            _ => Fatal::new(ExitCode::FileIo, format!("read error: {}", errno_text(&error))),
        })
    }
}

/// An option that the head records: its title, how to ask for it, how to set it.
type Bit = (u32, &'static str, fn(&Options) -> bool, fn(&mut Options, bool));

/// In the order in which changes are told.
const BITS: [Bit; 14] = [
    (0, "--recurse (-r)", |o| o.recurse, |o, on| o.recurse = on),
    (1, "--owner (-o)", |o| o.owner, |o, on| o.owner = on),
    (2, "--group (-g)", |o| o.group, |o, on| o.group = on),
    (3, "--links (-l)", |o| o.links, |o, on| o.links = on),
    (4, "--devices (-D)", |o| o.devices, |o, on| o.devices = on),
    (5, "--hard-links (-H)", |o| o.hard_links, |o, on| o.hard_links = on),
    (6, "--checksum (-c)", |o| o.checksum, |o, on| o.checksum = on),
    (7, "--dirs (-d)", |o| o.dirs || o.recurse, |o, on| o.dirs = on),
    (8, "--compress (-z)", |o| o.compress, |o, on| o.compress = on),
    (10, "--acls (-A)", |o| o.acls, |o, on| o.acls = on),
    (11, "--xattrs (-X)", |o| o.xattrs > 0, |o, on| o.xattrs = u8::from(on)),
    (12, "--inplace", |o| o.inplace, |o, on| o.inplace = on),
    (13, "--append", |o| o.append == Append::Blindly, |o, on| o.append = appends(o, on, 13)),
    (
        14,
        "--append-verify",
        |o| o.append == Append::Verified,
        |o, on| {
            o.append = appends(o, on, 14);
        },
    ),
];

/// Names are converted. Neither written nor read.
const ICONV_BIT: u32 = 9;

fn appends(o: &Options, on: bool, bit: u32) -> Append {
    match (on, bit, o.append) {
        (true, 13, _) => Append::Blindly,
        (true, ..) => Append::Verified,
        (false, 13, Append::Blindly) | (false, 14, Append::Verified) => Append::Off,
        (false, _, other) => other,
    }
}

fn bits_of(opts: &Options) -> i32 {
    let set = BITS.iter().filter(|(_, _, get, _)| get(opts));
    let converts = u32::from(opts.charsets.own.is_some()) << ICONV_BIT;
    (set.map(|(bit, ..)| 1_u32 << bit).sum::<u32>() | converts).cast_signed()
}

/// Makes the options those that the batch was written with; the lines that say so.
fn adapt(opts: &mut Options, bits: u32) -> Vec<String> {
    let before = opts.clone();
    let mut lines = Vec::new();
    for (bit, title, get, set) in &BITS {
        let on = bits & 1 << bit != 0;
        if get(&before) != on || *bit == 0 && on && before.batch.recurse_said {
            let word = if on { "Setting" } else { "Clearing" };
            lines.push(format!("{word} the {title} option to match the batchfile.\n"));
        }
        if get(opts) != on {
            set(opts, on);
        }
    }
    lines
}

impl Client {
    /// Applies a batch file to `dest`.
    pub(crate) fn read_batch(&mut self, name: &[u8], dest: Vec<u8>) -> Result<(), Fatal> {
        self.role = Role::SoleReceiver;
        let (filters, _) = crate::merge_files::filters_and_script(&self.opts)
            .map_err(|fatal| fatal.of(Role::Client))?;
        let mut head = Head(open_read(name)?);
        let bits = get_i32(&mut head)?.cast_unsigned();
        let agreed = self.adopt_head(&mut head, bits)?;
        let null = operator::open(b"/dev/null", Access::ReadWrite { mode: 0 })
            .map_err(|e| Fatal::new(ExitCode::Ipc, e.to_string()))?;
        let traffic = Traffic::new(self.opts.timeout_s, self.control.clone());
        let file = Arc::new(head.0.into());
        let reader = LinkReader::new(file, traffic.clone(), Vec::new());
        let writer = LinkWriter::new(Arc::new(null.into()), traffic, 0);
        self.role = Role::Generator;
        let result = self.receive(Open { reader, writer }, agreed, filters, None, dest, false);
        // No list has travelled.
        self.counters.flist_size = 0;
        result
    }

    /// Reads the rest of the head, and takes over what it says.
    fn adopt_head(&mut self, head: &mut Head, bits: u32) -> Result<Agreed, Fatal> {
        let number = get_i32(head)?;
        let own = self.opts.protocol;
        if number > own.number() && Protocol::new(number).is_some_and(|p| p != own) {
            return Err(too_new(number, own));
        }
        let protocol = wire::version::negotiated(own, number).map_err(|error| {
            self.reporter.final_error(error.to_string().as_bytes());
            Fatal::bare(error.exit_code(), "(see the rsync manpage for an explanation)")
        })?;
        if number > own.number() {
            return Err(too_new(number, own));
        }
        let compat = CompatFlags::decode(head)?;
        let seed = get_i32(head)?;
        let may = self.opts.may_recurse_in_segments(true);
        let mut opts = (*self.opts).clone();
        let told = adapt(&mut opts, bits);
        if opts.info.misc > 0 {
            told.iter().for_each(|line| self.reporter.info(line.as_bytes()));
        }
        let (wants, has) = (bits & 1 << ICONV_BIT != 0, opts.charsets.own.is_some());
        if wants != has && protocol.has_compat_flags() {
            let what = if wants { "Please" } else { "Do not" };
            let text = format!("{what} specify the --iconv option to use this batch file.");
            return Err(Fatal::bare(ExitCode::Syntax, text));
        }
        if compat.contains(CompatFlags::INC_RECURSE) && !may {
            let text = "Incompatible options specified for inc-recursive batch file.";
            return Err(Fatal::bare(ExitCode::Syntax, text));
        }
        self.opts = Arc::new(opts);
        self.protocol = protocol;
        let agreed = setup::of_batch(&self.opts, protocol, compat, seed)?;
        self.reporter.set_charset(agreed.charset.as_ref(), Role::SoleReceiver, &self.opts);
        Ok(agreed)
    }
}

fn too_new(number: i32, own: Protocol) -> Fatal {
    let own = own.number();
    let text = format!("The protocol version in the batch file is too new ({number} > {own}).");
    Fatal::bare(ExitCode::Protocol, text)
}

/// What the generator of a batch's reader wants; its receiver asks here, since the file cannot be
/// asked.
#[derive(Default)]
pub struct Wants {
    state: Mutex<WantState>,
    changed: Condvar,
}

#[derive(Default)]
struct WantState {
    wanted: BTreeSet<i32>,
    /// Below this index everything is decided.
    decided: i32,
    /// The generator has ended.
    over: bool,
}

impl Wants {
    fn change(&self, change: impl FnOnce(&mut WantState)) {
        if let Ok(mut state) = self.state.lock() {
            change(&mut state);
        }
        self.changed.notify_all();
    }

    /// The content of an entry is wanted.
    pub fn want(&self, index: i32) {
        self.change(|state| {
            state.wanted.insert(index);
        });
    }

    /// Nothing below `end` will be wanted but what was told.
    pub fn decided(&self, end: i32) {
        self.change(|state| state.decided = state.decided.max(end));
    }

    /// Nobody will want anything.
    pub fn end(&self) {
        self.change(|state| state.over = true);
    }

    /// Waits until everything below `end` is decided.
    fn when(&self, end: i32, control: &Control) -> Result<MutexGuard<'_, WantState>, Fatal> {
        let crashed = || Fatal::silent(ExitCode::Crashed);
        let mut state = self.state.lock().map_err(|_| crashed())?;
        while state.decided < end && !state.over {
            control.stopped()?;
            let waited = self.changed.wait_timeout(state, STOP_CHECK);
            state = waited.map_err(|_| crashed())?.0;
        }
        Ok(state)
    }

    /// Whether the content of an entry is wanted; it counts as given from now on.
    pub fn takes(&self, index: i32, control: &Control) -> Result<bool, Fatal> {
        Ok(self.when(index.saturating_add(1), control)?.wanted.remove(&index))
    }

    /// What of a range is wanted and has not come; it is wanted no more.
    pub fn left(&self, range: Range<i32>, control: &Control) -> Result<Vec<i32>, Fatal> {
        let mut state = self.when(range.end, control)?;
        let left: Vec<i32> = state.wanted.range(range).copied().collect();
        left.iter().for_each(|index| {
            state.wanted.remove(index);
        });
        Ok(left)
    }
}
