//! The list of names of `--files-from`: where it is read, how it travels.

use std::io::Read;

use wire::codec::ByteSource;
use wire::exit::ExitCode;

use crate::charset::Charset;
use crate::fatal::{Fatal, errno_words};
use crate::link::{LinkReader, LinkWriter};
use crate::options::{FilesFrom, Options};
use crate::setup::Agreed;

/// Where a sender gets its names.
pub enum NameSource {
    /// There is no list: the arguments stand for themselves.
    None,
    /// Read already.
    Names(Vec<Vec<u8>>),
    /// They come over the connection.
    Connection,
}

impl NameSource {
    /// The names, read from the connection if that is where they are.
    /// Below protocol 31 they come outside the frames.
    pub fn read(
        self,
        reader: &mut LinkReader,
        agreed: &Agreed,
        opts: &Options,
    ) -> Result<Option<Vec<Vec<u8>>>, Fatal> {
        let mut names = match self {
            NameSource::None => return Ok(None),
            NameSource::Names(names) => return Ok(Some(names)),
            NameSource::Connection if agreed.protocol.raw_files_from() => {
                let framed = reader.set_muxed(false);
                let names = receive(reader);
                reader.set_muxed(framed);
                names?
            }
            NameSource::Connection => receive(reader)?,
        };
        if let Some(charset) = of_words(agreed, opts) {
            names.iter_mut().for_each(|name| *name = charset.hear(name));
        }
        Ok(Some(names))
    }
}

/// How the names of a list are converted: as the words of the command line are, where no shell sees
/// those.
fn of_words<'a>(agreed: &'a Agreed, opts: &Options) -> Option<&'a Charset> {
    agreed.charset.as_deref().filter(|_| opts.secluded_args)
}

/// Writes names with a NUL behind each; below protocol 31 they go outside the frames.
pub fn put(names: &[u8], agreed: &Agreed, opts: &Options, writer: &mut LinkWriter) {
    let converted = of_words(agreed, opts).map(|charset| {
        let names = names.split_inclusive(|b| *b == 0);
        names.flat_map(|name| charset.say(name)).collect::<Vec<u8>>()
    });
    let names = converted.as_deref().unwrap_or(names);
    match agreed.protocol.raw_files_from() {
        true => writer.raw(names),
        false => writer.data.extend_from_slice(names),
    }
}

/// What a sending client does about its list.
pub fn for_sender(opts: &Options) -> Result<NameSource, Fatal> {
    Ok(match &opts.files_from {
        None => NameSource::None,
        Some(FilesFrom::Names(names)) => NameSource::Names((**names).clone()),
        Some(FilesFrom::Remote { .. }) => NameSource::Connection,
        Some(FilesFrom::Local(path)) => {
            NameSource::Names(split(&read_file(path)?, opts.from0, true))
        }
        Some(FilesFrom::Stdin) => NameSource::Names(split(&read_stdin()?, opts.from0, true)),
    })
}

/// What a receiving client forwards: names NUL-terminated, an empty one at the end.
pub fn for_forwarding(opts: &Options) -> Result<Option<Vec<u8>>, Fatal> {
    let text = match &opts.files_from {
        None | Some(FilesFrom::Remote { .. }) => return Ok(None),
        Some(FilesFrom::Names(names)) => names.join(&0),
        Some(FilesFrom::Local(path)) => read_file(path)?,
        Some(FilesFrom::Stdin) => read_stdin()?,
    };
    let in_memory = matches!(opts.files_from, Some(FilesFrom::Names(_)));
    // Comment lines travel too: only a reader of its own file knows them.
    let names = split(&text, opts.from0 || in_memory, false);
    let mut out = Vec::new();
    for name in names {
        out.extend_from_slice(&name);
        out.push(0);
    }
    out.push(0);
    Ok(Some(out))
}

/// What a sending server does about the list its client named.
pub fn for_server(
    opts: &Options,
    open: impl FnOnce(&[u8]) -> std::io::Result<std::fs::File>,
) -> Result<NameSource, Fatal> {
    Ok(match &opts.files_from {
        None => NameSource::None,
        Some(FilesFrom::Stdin) => NameSource::Connection,
        Some(FilesFrom::Local(path)) => {
            NameSource::Names(split(&read_for_client(path, open)?, opts.from0, true))
        }
        Some(_) => {
            return Err(Fatal::new(
                ExitCode::Syntax,
                "The --files-from sent to the server cannot specify a host.",
            ));
        }
    })
}

/// Sends the list that a pushing client wants from this side: names NUL-terminated, an empty one at
/// the end; below protocol 31 outside the frames. Comment lines are names here.
pub fn serve(
    opts: &Options,
    open: impl FnOnce(&[u8]) -> std::io::Result<std::fs::File>,
    agreed: &Agreed,
    writer: &mut LinkWriter,
) -> Result<(), Fatal> {
    let Some(FilesFrom::Local(path)) = &opts.files_from else { return Ok(()) };
    let text = read_for_client(path, open)?;
    let mut names = Vec::new();
    for name in split(&text, opts.from0, false) {
        names.extend_from_slice(&name);
        names.push(0);
    }
    names.push(0);
    put(&names, agreed, opts, writer);
    writer.flush()
}

/// Splits text into names; empty ones, and with `comments` lines that begin with `#` or `;`, are
/// dropped.
pub fn split(text: &[u8], from0: bool, comments: bool) -> Vec<Vec<u8>> {
    let ends = |b: &u8| if from0 { *b == 0 } else { matches!(b, b'\n' | b'\r' | 0) };
    let is_comment = |name: &[u8]| comments && matches!(name.first(), Some(b'#' | b';'));
    text.split(ends)
        .filter(|name| !name.is_empty() && !is_comment(name))
        .map(<[u8]>::to_vec)
        .collect()
}

/// Reads names off the connection up to the empty one.
fn receive(reader: &mut LinkReader) -> Result<Vec<Vec<u8>>, Fatal> {
    let (mut names, mut name, mut total) = (Vec::new(), Vec::new(), 0usize);
    let mut after_name = true;
    loop {
        match reader.byte()? {
            0 if !name.is_empty() => {
                names.push(std::mem::take(&mut name));
                after_name = true;
            }
            0 if after_name => return Ok(names),
            0 => {}
            byte => {
                after_name = false;
                name.push(byte);
                total += 1;
            }
        }
        if name.len() > wire::limits::NAME_MAX_LEN || wire::limits::too_big(total) {
            return Err(Fatal::new(ExitCode::Malloc, "over-long names list"));
        }
    }
}

/// Reads the list that a client named: no more of it than could travel.
fn read_for_client(
    path: &[u8],
    open: impl FnOnce(&[u8]) -> std::io::Result<std::fs::File>,
) -> Result<Vec<u8>, Fatal> {
    let mut text = Vec::new();
    open(path)
        .and_then(|file| {
            file.take(wire::limits::object_max().saturating_add(1)).read_to_end(&mut text)
        })
        .map_err(|error| cannot_open(path, &error))?;
    if wire::limits::too_big(text.len()) {
        return Err(Fatal::new(ExitCode::Malloc, "over-long names list"));
    }
    Ok(text)
}

fn read_file(path: &[u8]) -> Result<Vec<u8>, Fatal> {
    let mut text = Vec::new();
    tree::operator::open_trusted(path)
        .and_then(|mut file| file.read_to_end(&mut text))
        .map_err(|error| cannot_open(path, &error))?;
    Ok(text)
}

fn cannot_open(path: &[u8], error: &std::io::Error) -> Fatal {
    let mut text = b"failed to open files-from file ".to_vec();
    text.extend_from_slice(path);
    text.extend_from_slice(b": ");
    text.extend_from_slice(errno_words(error).as_bytes());
    Fatal::program(ExitCode::Syntax, text)
}

fn read_stdin() -> Result<Vec<u8>, Fatal> {
    let mut text = Vec::new();
    std::io::stdin().lock().read_to_end(&mut text).map_err(|error| cannot_open(b"-", &error))?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_comments_and_nuls() {
        let names = |v: Vec<Vec<u8>>| v.join(&b'|');
        assert_eq!(names(split(b"a\n#b\r\n\n;c\nd", false, true)), b"a|d");
        assert_eq!(names(split(b"a\n#b\n", false, false)), b"a|#b");
        assert_eq!(names(split(b"a\nb\0#c\0d#\0", true, true)), b"a\nb|d#");
    }
}
