//! What a watch back-end says: one change of one path, or that more than a path is in doubt.
//!
//! Made by [`super::inotify`] and [`super::fanotify`], taken by `aggregate::queue`. A change tells
//! how much there is to do, not what is there: whoever sends the path looks at it then, so two
//! events in the wrong order do no harm.

/// What happened at one path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Whatever is there now is worth sending: closed after writing.
    Settled,
    /// The same, and it is another file than before, for all that its size and time may tell:
    /// renamed to here, or made and closed.
    Arrived,
    /// Owner, mode, times or the like changed; content may be in the middle of being written.
    Attributes,
    /// Content was written and the file is still open.
    Writing,
    /// A name that is no directory was made; it may be about to be written.
    Appeared,
    /// A directory was made; what is in it is reported by itself.
    MadeDir,
    /// A directory came here with what it holds.
    Subtree,
    /// The name is gone.
    Gone {
        /// It was a directory.
        dir: bool,
    },
}

impl Change {
    /// What lsyncd calls it.
    pub fn name(self) -> &'static str {
        match self {
            Change::Settled | Change::Writing => "Modify",
            Change::Attributes => "Attrib",
            Change::Arrived | Change::Appeared | Change::MadeDir | Change::Subtree => "Create",
            Change::Gone { .. } => "Delete",
        }
    }
}

impl Event {
    /// One line, with what is no character of a path's text shown as a question mark.
    pub fn line(&self) -> String {
        let shown = |path: &[u8]| {
            let fine = |c: char| if c.is_control() { '?' } else { c };
            String::from_utf8_lossy(path).chars().map(fine).collect::<String>()
        };
        match self {
            Event::Path(path, change) => {
                let dir = matches!(
                    change,
                    Change::MadeDir | Change::Subtree | Change::Gone { dir: true }
                );
                let end = if dir { "/" } else { "" };
                format!("got event {} {}{end}", change.name(), shown(path))
            }
            Event::Moved => "the last and the next are one Move".into(),
            Event::Doubt => "got event Overflow".into(),
            Event::Lost(text) => shown(text.as_bytes()),
        }
    }
}

/// One message of a back-end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Something happened at one path, relative to the source and empty for the source itself.
    Path(Vec<u8>, Change),
    /// The name that was gone last and the one of the next event are the two of one move. Only told
    /// where that is asked for.
    Moved,
    /// Events were lost or watches are in doubt: everything below the source must be compared.
    Doubt,
    /// The source is no longer where it was; no event follows. Why, as a line without newline.
    Lost(String),
}
