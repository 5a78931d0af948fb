//! `livemirror sersync`: the command line of sersync2.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use wire::exit::ExitCode;

use crate::{console, live};

const HELP: &str = "\
livemirror sersync [-d] [-r] [-o FILE] [-n N]

  -d        leave the terminal
  -r        compare everything first; without it only what changes is sent
  -o FILE   the configuration (confxml.xml)
  -n N      number of threads; one transfer at a time is sent here, whatever it is
  -h        this

Plugins (-m NAME) are refused. What sends is livemirror; no programs are run.
";

/// `livemirror sersync`, or a link named `sersync` or `sersync2`.
pub(crate) fn run(args: &[Vec<u8>]) -> i32 {
    let (mut detach, mut first) = (false, false);
    let mut file = b"confxml.xml".to_vec();
    let mut words = args.iter();
    while let Some(word) = words.next() {
        match word.as_slice() {
            b"-h" | b"--help" => {
                console::out(HELP.as_bytes());
                return 0;
            }
            b"-d" => detach = true,
            b"-r" => first = true,
            // Several letters may share a dash.
            b"-rd" | b"-dr" => (detach, first) = (true, true),
            b"-o" => match words.next() {
                Some(path) => file = path.clone(),
                None => return refuse("-o needs a file", ExitCode::Syntax),
            },
            b"-n" => {
                let number = words.next().and_then(|n| std::str::from_utf8(n).ok());
                if number.and_then(|n| n.parse::<u32>().ok()).is_none_or(|n| n == 0) {
                    return refuse("-n needs a number from 1 on", ExitCode::Syntax);
                }
            }
            b"-m" => return refuse("-m: plugins are not done here", ExitCode::Unsupported),
            other => {
                let other = String::from_utf8_lossy(other);
                let text = format!("unknown option {other} (livemirror sersync -h)");
                return refuse(&text, ExitCode::Syntax);
            }
        }
    }
    let mut loaded = match mirror::config::sersync::load(Path::new(OsStr::from_bytes(&file))) {
        Ok(loaded) => loaded,
        Err(errors) => return live::refuse_config(&errors),
    };
    for sync in &mut loaded.config.syncs {
        sync.skip_first = !first;
    }
    let config = live::with_remarks(loaded);
    if detach && let Err(error) = tree::jail::detach() {
        return refuse(&format!("cannot leave the terminal: {error}"), ExitCode::Ipc);
    }
    live::start(config, false)
}

fn refuse(text: &str, exit: ExitCode) -> i32 {
    console::err(format!("livemirror: {text}\n").as_bytes());
    exit.code()
}
