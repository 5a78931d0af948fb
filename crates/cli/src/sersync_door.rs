//! `livemirror sersync`: the command line of sersync2.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use wire::exit::ExitCode;

use crate::{console, live};

const HELP: &str = "\
livemirror sersync [-d] [-r] [-o FILE] [-n N] [-m NAME]

  -d        leave the terminal
  -r        compare everything first; without it only what changes is sent
  -o FILE   the configuration (confxml.xml)
  -n N      number of threads; one transfer at a time is sent here, whatever it is
  -m NAME   nothing is sent: the plugin NAME, command or socket, is told of each change
  -h        this

What sends is livemirror: no program is run but that of a started plugin, and no shell. A file goes
when it is closed, or when nothing was written to it for a while. Changes of modes, owners and times
go too, also where attrib is off.
";

/// What the command line asks for.
struct Asked {
    detach: bool,
    first: bool,
    file: Vec<u8>,
    plugin: Option<String>,
}

/// `livemirror sersync`, or a link named `sersync` or `sersync2`.
pub(crate) fn run(args: &[Vec<u8>]) -> i32 {
    let asked = match words(args) {
        Ok(Some(asked)) => asked,
        Ok(None) => {
            console::out(HELP.as_bytes());
            return 0;
        }
        Err(text) => return refuse(&text, ExitCode::Syntax),
    };
    let path = Path::new(OsStr::from_bytes(&asked.file));
    let loaded = match &asked.plugin {
        Some(name) => mirror::config::sersync::load_plugin(path, name),
        None => mirror::config::sersync::load(path),
    };
    let mut loaded = match loaded {
        Ok(loaded) => loaded,
        Err(errors) => return live::refuse_config(&errors),
    };
    for sync in &mut loaded.config.syncs {
        sync.skip_first = !asked.first;
    }
    for (_, text) in &loaded.lines {
        console::out(format!("{text}\n").as_bytes());
    }
    let config = live::with_remarks(loaded);
    if asked.detach
        && let Err(error) = tree::jail::detach()
    {
        return refuse(&format!("cannot leave the terminal: {error}"), ExitCode::Ipc);
    }
    live::start(config, false)
}

/// Reads the words; `None` where the help is asked for. Several letters may share a dash, and a value
/// may stand behind its letter or in the next word. Errors: a line.
fn words(args: &[Vec<u8>]) -> Result<Option<Asked>, String> {
    let file = b"confxml.xml".to_vec();
    let mut asked = Asked { detach: false, first: false, file, plugin: None };
    let mut words = args.iter();
    while let Some(word) = words.next() {
        let shown = String::from_utf8_lossy(word);
        let unknown = || format!("unknown option {shown} (livemirror sersync -h)");
        if word == b"--help" {
            return Ok(None);
        }
        let mut letters = word.strip_prefix(b"-").filter(|rest| !rest.is_empty());
        while let Some((letter, rest)) = letters.and_then(<[u8]>::split_first) {
            letters = Some(rest);
            let mut value = |what: &str| {
                let given = letters.take().filter(|rest| !rest.is_empty()).map(<[u8]>::to_vec);
                let value = given.or_else(|| words.next().cloned());
                value.ok_or_else(|| format!("-{} needs {what}", char::from(*letter)))
            };
            match letter {
                b'h' => return Ok(None),
                b'd' => asked.detach = true,
                b'r' => asked.first = true,
                b'o' => asked.file = value("a file")?,
                b'm' => {
                    let name = value("the name of a plugin")?;
                    asked.plugin = Some(String::from_utf8_lossy(&name).into_owned());
                }
                b'n' => {
                    let number = value(NUMBER)?;
                    let number = std::str::from_utf8(&number).ok().and_then(|n| n.parse().ok());
                    if number.is_none_or(|n: u32| n == 0) {
                        return Err(format!("-n needs {NUMBER}"));
                    }
                }
                _ => return Err(unknown()),
            }
        }
        if !word.starts_with(b"-") || word == b"-" {
            return Err(unknown());
        }
    }
    Ok(Some(asked))
}

/// What `-n` wants.
const NUMBER: &str = "a number from 1 on";

fn refuse(text: &str, exit: ExitCode) -> i32 {
    console::err(format!("livemirror: {text}\n").as_bytes());
    exit.code()
}
