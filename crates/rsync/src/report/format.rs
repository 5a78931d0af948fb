//! The `%` formats of `--out-format`, `--log-file-format` and a daemon's `log format`.
//!
//! A format is parsed once and rendered per item. Escapes are `%[']*[-][width][']*LETTER`; each `'`
//! raises the human level of `%l %b %c`; unknown letters stay as they are, and so do, outside a
//! daemon, the letters that only a daemon knows.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::list_line::{permissions, time_text};
use super::number::format_number;

/// Widest column a format can ask for, in bytes, so that a format cannot exhaust memory.
const WIDTH_MAX: usize = 4096;

/// A parsed format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutFormat {
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(Vec<u8>),
    Escape {
        letter: u8,
        human: u8,
        left: bool,
        width: usize,
        /// As written, for letters without a meaning.
        raw: Vec<u8>,
    },
}

/// What is done with an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Operation {
    /// This side sends it.
    #[default]
    Send,
    /// This side receives it.
    Receive,
    /// It is deleted.
    Delete,
}

/// What only a daemon knows.
#[derive(Clone, Debug, Default)]
pub struct Peer {
    /// Address of the client.
    pub address: Vec<u8>,
    /// Its name.
    pub host: Vec<u8>,
    /// Module.
    pub module: Vec<u8>,
    /// Its path.
    pub module_path: Vec<u8>,
    /// Authenticated user; empty for none.
    pub user: Vec<u8>,
}

/// Everything a format can show of one item.
#[derive(Clone, Debug, Default)]
pub struct Item {
    /// Name as shown: with a final `/` for a directory.
    pub name: Vec<u8>,
    /// The sender's path and the name, without leading `/`; on a daemon below the module.
    pub long_name: Vec<u8>,
    /// Type and permissions.
    pub mode: u32,
    /// Size in bytes.
    pub len: u64,
    /// Seconds since 1970.
    pub mtime: i64,
    /// Owner.
    pub uid: u32,
    /// Group; `None` when it is not kept.
    pub gid: Option<u32>,
    /// Target of a symbolic link, or with `true` the name it is a hard link to.
    pub target: Option<(bool, Vec<u8>)>,
    /// The eleven characters of `%i`.
    pub itemize: [u8; 11],
    /// `%o`.
    pub operation: Operation,
    /// Bytes that went over the wire for it.
    pub bytes: u64,
    /// Bytes of block sums received for it.
    pub sum_bytes: u64,
    /// Digest of the file, if there is one.
    pub digest: Option<Vec<u8>>,
    /// Length of a digest, in bytes, for the blanks of an item without one.
    pub digest_len: usize,
    /// Set on a daemon.
    pub peer: Option<Peer>,
}

/// What a line shows besides its item.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// Seconds since 1970.
    pub now: i64,
    /// In which times are shown.
    pub zone: TimeZone,
    /// Process id.
    pub pid: u32,
}

impl Surroundings {
    /// Those of this process, now.
    pub fn here() -> Surroundings {
        let (now, zone) = (Timestamp::now().as_second(), TimeZone::system());
        Surroundings { now, zone, pid: std::process::id() }
    }
}

impl OutFormat {
    /// Splits a format into text and escapes. Every text is a format.
    pub fn parse(format: &[u8]) -> OutFormat {
        let mut pieces = Vec::new();
        let mut rest = format;
        while let Some(at) = rest.iter().position(|&b| b == b'%') {
            let (text, from) = rest.split_at(at);
            if !text.is_empty() {
                pieces.push(Piece::Text(text.to_vec()));
            }
            let (piece, after) = escape(from);
            pieces.push(piece);
            rest = after;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_vec()));
        }
        OutFormat { pieces }
    }

    /// Whether `format` contains the escape `letter`.
    pub fn has(format: &[u8], letter: u8) -> bool {
        OutFormat::parse(format).uses(letter)
    }

    /// Whether a line is printed after a file's data, not before it.
    pub fn needs_transfer(&self) -> bool {
        b"bcC".iter().any(|&letter| self.uses(letter))
    }

    /// Whether deletions are shown through the format.
    pub fn shows_deletions(&self) -> bool {
        self.uses(b'i') || self.uses(b'o')
    }

    /// Whether a line would hold nothing.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Whether the escape `letter` occurs.
    pub fn uses(&self, letter: u8) -> bool {
        let is = |piece: &Piece| matches!(piece, Piece::Escape { letter: l, .. } if *l == letter);
        self.pieces.iter().any(is)
    }

    /// The line of one item, with a newline.
    pub fn render(&self, item: &Item) -> Vec<u8> {
        // Finding the zone of time reads many files, and most lines show no time.
        let shown = [b'M', b't', b'p'].into_iter().any(|letter| self.uses(letter));
        let nowhere = Surroundings { now: 0, zone: TimeZone::UTC, pid: 0 };
        self.render_at(item, &if shown { Surroundings::here() } else { nowhere })
    }

    /// The same with the time and place given.
    pub fn render_at(&self, item: &Item, around: &Surroundings) -> Vec<u8> {
        let mut line = Vec::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => line.extend_from_slice(text),
                Piece::Escape { letter, human, left, width, raw } => {
                    match item.value(*letter, *human, around) {
                        None => line.extend_from_slice(raw),
                        Some(value) => {
                            let blanks = vec![b' '; width.saturating_sub(value.len())];
                            let parts = if *left { [value, blanks] } else { [blanks, value] };
                            line.extend(parts.concat());
                        }
                    }
                }
            }
        }
        line.push(b'\n');
        line
    }
}

/// Reads an escape at the start of `text`, which begins with `%`.
fn escape(text: &[u8]) -> (Piece, &[u8]) {
    let mut at = 1;
    let mut human: u8 = 0;
    let mut quotes = |at: &mut usize| {
        while text.get(*at) == Some(&b'\'') {
            human = human.saturating_add(1);
            *at += 1;
        }
    };
    quotes(&mut at);
    let left = text.get(at) == Some(&b'-');
    at += usize::from(left);
    let mut width: usize = 0;
    while let Some(digit) = text.get(at).filter(|b| b.is_ascii_digit()) {
        width = (width * 10 + usize::from(digit - b'0')).min(WIDTH_MAX);
        at += 1;
    }
    quotes(&mut at);
    match text.get(at) {
        Some(&letter) => {
            let (raw, rest) = text.split_at(at + 1);
            (Piece::Escape { letter, human, left, width, raw: raw.to_vec() }, rest)
        }
        None => (Piece::Text(text.to_vec()), b""),
    }
}

impl Item {
    /// The value of an escape, `None` if the letter has none here.
    fn value(&self, letter: u8, human: u8, around: &Surroundings) -> Option<Vec<u8>> {
        let number = |n: u64| format_number(i64::try_from(n).unwrap_or(i64::MAX), human).into();
        let peer =
            |field: fn(&Peer) -> &Vec<u8>| self.peer.as_ref().map(|peer| field(peer).clone());
        Some(match letter {
            b'%' => b"%".to_vec(),
            b'a' => peer(|p| &p.address)?,
            b'h' => peer(|p| &p.host)?,
            b'u' => peer(|p| &p.user)?,
            b'P' => peer(|p| &p.module_path)?,
            b'm' => peer(|p| &p.module).unwrap_or_default(),
            b'b' => number(self.bytes),
            b'c' => number(self.sum_bytes),
            b'l' => number(self.len),
            b'B' => permissions(self.mode).into(),
            b'C' => match &self.digest {
                Some(digest) => {
                    digest.iter().flat_map(|b| format!("{b:02x}").into_bytes()).collect()
                }
                None => vec![b' '; self.digest_len * 2],
            },
            b'f' => self.long_name.clone(),
            b'G' => self.gid.map_or_else(|| "DEFAULT".to_owned(), |gid| gid.to_string()).into(),
            b'U' => self.uid.to_string().into(),
            b'i' => self.itemize.to_vec(),
            b'L' => match &self.target {
                Some((false, target)) => [b" -> ", target.as_slice()].concat(),
                Some((true, leader)) => [b" => ", leader.as_slice()].concat(),
                None => Vec::new(),
            },
            b'M' => time_text(self.mtime, '-', &around.zone).into(),
            b't' => time_text(around.now, ' ', &around.zone).into(),
            b'n' => self.name.clone(),
            b'o' => match self.operation {
                Operation::Send => b"send".to_vec(),
                Operation::Receive => b"recv".to_vec(),
                Operation::Delete => b"del.".to_vec(),
            },
            b'p' => around.pid.to_string().into(),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item() -> Item {
        Item {
            name: b"a".to_vec(),
            long_name: b"s2/a".to_vec(),
            mode: 0o104_755,
            len: 4096,
            mtime: 1_704_164_645,
            gid: Some(0),
            itemize: *b">f+++++++++",
            bytes: 48,
            sum_bytes: 16,
            digest: Some(vec![0xb5, 0x0e]),
            digest_len: 2,
            ..Item::default()
        }
    }

    fn shown(format: &str, item: &Item) -> String {
        let around = Surroundings { now: 0, zone: TimeZone::UTC, pid: 7 };
        let line = OutFormat::parse(format.as_bytes()).render_at(item, &around);
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn values_as_the_reference_prints_them() {
        let all = "[%b|%B|%c|%C|%f|%G|%U|%i|%l|%L|%M|%m|%n|%o|%%|%q|%a|%h|%u|%P|%p]";
        let expected = "[48|rwsr-xr-x|16|b50e|s2/a|0|0|>f+++++++++|4096||\
                        2024/01/02-03:04:05||a|send|%|%q|%a|%h|%u|%P|7]\n";
        assert_eq!(shown(all, &item()), expected);
        let widths = "[%10l|%-10l|%5n|%'l|%''l|%'''l|%3'l|%";
        let expected = "[      4096|4096      |    a|4,096|4.10K|4.00K|4,096|%\n";
        assert_eq!(shown(widths, &item()), expected);
    }

    #[test]
    fn links_daemons_and_missing_digests() {
        let peer = Peer { host: b"h".to_vec(), ..Peer::default() };
        let target = Some((true, b"b".to_vec()));
        let item = Item { gid: None, digest: None, target, peer: Some(peer), ..item() };
        assert_eq!(shown("%n%L|%C|%G|%h%u", &item), "a => b|    |DEFAULT|h\n");
        assert!(!OutFormat::has(b"%%i", b'i') && OutFormat::has(b"%-5i", b'i'));
    }
}
