//! From an admitted daemon client to a server run: options, refusals, the module's settings.
//!
//! Called by the program's connection process with what [`crate::daemon::connection`] hands over.

use std::sync::Arc;

use tree::owner::SharedNames;
use wire::exit::ExitCode;

use crate::chmod::ChmodRules;
use crate::console::Console;
use crate::control::Control;
use crate::daemon::rules::hides;
use crate::daemon::session::DaemonSession;
use crate::daemon::standing::{ByteTeller, Parting, Step, Teller};
use crate::items::ItemLog;
use crate::options::debug::DebugLevels;
use crate::options::parse::{Parsing, UsageError, parse, parse_refusing};
use crate::options::{FilesFrom, Options, RemoveSource};
use crate::report::format::{OutFormat, Peer};
use crate::server::{DaemonPart, ServerRun};
use crate::transport::Streams;

/// Serves the client of a session.
pub fn run(session: DaemonSession, console: Arc<dyn Console>, control: Arc<Control>) -> ExitCode {
    let log = session.log.clone();
    let (mut opts, paths, refusal) = understand(&session);
    apply_module(&mut opts, &session);
    // The module's own charset counts, whatever the client says it is.
    let converts = std::mem::take(&mut opts.charsets).own.is_some();
    // A command that failed is told before options that are refused.
    let own = session.refusal.clone();
    let (outgoing, incoming) = match opts.sender {
        true => (chmod_rules(&session, &session.module.outgoing_chmod, "outgoing chmod"), None),
        false => (None, chmod_rules(&session, &session.module.incoming_chmod, "incoming chmod")),
    };
    let options = match own {
        Some(_) => None,
        None => refusal.or_else(|| hidden_path(&opts, &session)),
    };
    let denied = access_error(&opts, &session);
    let standing = session.standing.clone();
    tell_refusal(&standing, options.is_some(), own.is_some(), denied.is_some());
    let refusal = options.or(own);
    if refusal.is_none() && denied.is_none() {
        log.info(if opts.sender { "building file list" } else { "receiving file list" });
    }
    let converter = session.converter.clone();
    if let Some(Ok(mut converter)) = converter.as_ref().map(|shared| shared.lock()) {
        converter.stops(control.clone());
    }
    let line_log = log.clone();
    let daemon = DaemonPart {
        protocol: session.protocol,
        root: session.root.clone(),
        confined: session.confined,
        module: session.module.name.clone(),
        filters: session.filters.clone(),
        outgoing_chmod: outgoing,
        incoming_chmod: incoming,
        names: session.converter.clone().map(|names| -> SharedNames { names }),
        munge: session.munge,
        ignore_nonreadable: session.module.ignore_nonreadable,
        timeout_s: session.module.timeout_s,
        log: Box::new(move |line| line_log.line(line)),
        transfer_log: transfer_log(&session),
        charset: session.charset.clone().filter(|_| converts),
        refusal,
        denied,
    };
    let bytes = ByteTeller::start(standing.clone(), control.clone());
    let end = crate::server::run(ServerRun {
        opts,
        paths,
        streams: Streams {
            input: Arc::new(session.input),
            output: Arc::new(session.output),
            child: None,
        },
        buffered: session.ahead,
        console,
        daemon: Some(daemon),
        restricted: None,
        control,
    });
    drop(session.slot);
    drop(bytes);
    let failed = converter.and_then(|shared| shared.lock().ok()?.failed());
    let exit = failed.unwrap_or(end.exit);
    standing.parts(if exit == ExitCode::Ok { Parting::Served } else { Parting::Failed });
    exit
}

/// The client's options; where they are refused, as many of them as the set-up needs, with the
/// text of the refusal.
fn understand(session: &DaemonSession) -> (Options, Vec<Vec<u8>>, Option<Vec<u8>>) {
    let refuse =
        |long: &str, short: Option<u8>| session.refused.check(long, short, session.sending);
    match parse_refusing(&session.args, &|_| None, Parsing::Server, &refuse) {
        Ok(parsed) => {
            let mut paths = parsed.words;
            if paths.first().is_some_and(|word| word == b".") {
                paths.remove(0);
            }
            (parsed.options, paths, None)
        }
        Err(UsageError { text, .. }) => (set_up_options(session), Vec::new(), Some(text)),
    }
}

/// What can be understood of refused options: enough to agree with the client on how to tell it.
fn set_up_options(session: &DaemonSession) -> Options {
    let fits = |words: &[Vec<u8>]| parse(words, &|_| None, Parsing::Server).ok();
    let mut kept = vec![b"--server".to_vec()];
    if session.sending {
        kept.push(b"--sender".to_vec());
    }
    for word in session.args.iter().take_while(|word| word.as_slice() != b".") {
        let more = [kept.clone(), vec![word.clone(), b".".to_vec(), b".".to_vec()]].concat();
        if word.starts_with(b"-") && !kept.contains(word) && fits(&more).is_some() {
            kept.push(word.clone());
        }
    }
    kept.extend([b".".to_vec(), b".".to_vec()]);
    let mut opts = fits(&kept).map(|parsed| parsed.options).unwrap_or_default();
    opts.server = true;
    opts.sender = session.sending;
    // What the client can do comes behind its letters, and is not read when one of them is refused.
    let bundle = session
        .args
        .iter()
        .find(|word| word.starts_with(b"-") && !word.starts_with(b"--") && word.contains(&b'e'));
    let mut letters = bundle.into_iter().flatten().skip(1).take_while(|letter| **letter != b'e');
    let refused = |letter: &u8| session.refused.check("", Some(*letter), session.sending).is_some();
    if letters.any(refused) {
        opts.capabilities = None;
    }
    opts
}

/// The module's settings over the client's.
fn apply_module(opts: &mut Options, session: &DaemonSession) {
    let module = &session.module;
    opts.ignore_errors |= module.ignore_errors;
    opts.open_noatime = module.open_noatime.unwrap_or(opts.open_noatime);
    opts.rights.serve(module.fake_super);
    if module.fake_super {
        opts.xattrs = opts.xattrs.min(1);
    }
    if !opts.sender && opts.temp_dir.is_none() && !module.temp_dir.is_empty() {
        opts.temp_dir = Some(module.temp_dir.clone());
    }
    opts.names_hidden = session.numeric_ids;
    opts.daemon_bwlimit = session.bwlimit;
    if module.compresses_nothing() {
        opts.compress_level = Some(0);
    }
    limit_verbosity(opts, module.max_verbosity);
}

/// Flags of `--info` are limited to what that many `-v` would give, however they were asked for.
fn limit_verbosity(opts: &mut Options, cap: u8) {
    opts.verbose = opts.verbose.min(cap);
    if cap < 2 {
        opts.debug = DebugLevels::default();
    }
    let one = u8::from(cap > 0);
    let two = u8::from(cap > 1);
    let info = &mut opts.info;
    for (level, most) in [
        (&mut info.name, one + two),
        (&mut info.backup, two),
        (&mut info.mount, two),
        (&mut info.remove, two),
        (&mut info.skip, two),
        (&mut info.copy, one),
        (&mut info.del, one),
        (&mut info.misc, one + two),
        (&mut info.symsafe, one),
    ] {
        *level = (*level).min(most);
    }
}

/// Tells why the client is not served: its options, a command of the operator's, or what it may.
fn tell_refusal(standing: &Teller, options: bool, command: bool, denied: bool) {
    let steps = [(options, Step::Options), (command, Step::Entry), (denied, Step::Access)];
    if let Some((_, step)) = steps.into_iter().find(|(is, _)| *is) {
        standing.refused(step);
    }
}

/// Reading from or writing to a module that does not allow it.
fn access_error(opts: &Options, session: &DaemonSession) -> Option<&'static str> {
    if opts.sender && session.module.write_only {
        Some("ERROR: module is write only")
    } else if !opts.sender && session.module.read_only {
        Some("ERROR: module is read only")
    } else if opts.sender && session.module.read_only {
        match opts.remove_source {
            RemoveSource::Nothing => None,
            RemoveSource::Synchronized => {
                Some("ERROR: --remove-source-files cannot be used with a read-only module")
            }
            RemoveSource::Sent => {
                Some("ERROR: --remove-sent-files cannot be used with a read-only module")
            }
        }
    } else {
        None
    }
}

/// A path among the options that the daemon's own rules hide.
fn hidden_path(opts: &Options, session: &DaemonSession) -> Option<Vec<u8>> {
    let list = match &opts.files_from {
        Some(FilesFrom::Local(path)) => Some(path),
        _ => None,
    };
    let dirs = [opts.temp_dir.as_ref(), opts.backup_dir.as_ref()];
    let hidden = |path: &[u8], is_dir: bool| {
        let clean = crate::scan::clean(crate::scan::trim_root(path));
        !clean.is_empty() && hides(&session.filters, &clean, is_dir)
    };
    let found = dirs.into_iter().flatten().any(|dir| hidden(dir, true))
        || list.is_some_and(|path| hidden(path, false));
    found.then(|| b"rsync: Your options have been rejected by the server.\n".to_vec())
}

fn chmod_rules(session: &DaemonSession, text: &[u8], what: &str) -> Option<ChmodRules> {
    if text.is_empty() {
        return None;
    }
    let rules = ChmodRules::parse(text);
    if rules.is_none() {
        let shown = String::from_utf8_lossy(text);
        session.log.warning(format!("Invalid \"{what}\" directive: {shown}"));
    }
    rules
}

fn transfer_log(session: &DaemonSession) -> Option<ItemLog> {
    session.module.transfer_logging.then(|| {
        let peer = Peer {
            address: session.addr.to_string().into_bytes(),
            host: session.host.clone(),
            module: session.module.name.clone(),
            module_path: session.module.path.clone(),
            user: session.user.clone(),
        };
        ItemLog::of_transfers(OutFormat::parse(&session.module.log_format), peer)
    })
}
