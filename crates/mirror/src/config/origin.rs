//! Where the settings of a sync were written, for messages about them.
//!
//! Filled by the readers of configuration files, read by `check`.

/// One setting as written.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Written {
    key: String,
    line: usize,
    value: String,
}

/// Where one sync was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncOrigin {
    /// The file.
    pub file: String,
    /// Its first line, from 1.
    pub line: usize,
    written: Vec<Written>,
}

impl SyncOrigin {
    /// A sync that begins at `line`, nothing of it known yet.
    pub fn new(file: &str, line: usize) -> SyncOrigin {
        SyncOrigin { file: file.to_owned(), line, written: Vec::new() }
    }

    /// Notes a setting. A long or many-lined value is cut.
    pub fn add(&mut self, key: &str, line: usize, value: &str) {
        let mut shown: String = value.lines().next().unwrap_or_default().trim_end().into();
        if let Some((at, _)) = shown.char_indices().nth(SHOWN_MAX) {
            shown.truncate(at);
            shown.push_str("...");
        }
        self.written.push(Written { key: key.to_owned(), line, value: shown });
    }

    /// Whether a setting was written.
    pub fn has(&self, key: &str) -> bool {
        self.written.iter().any(|one| one.key == key)
    }

    /// Line and text of the first of these settings that was written, else of the sync itself.
    pub fn find(&self, keys: &[&str]) -> (usize, String) {
        let found = keys.iter().find_map(|key| self.written.iter().find(|one| one.key == *key));
        match found {
            Some(one) => (one.line, format!("{} = {}", one.key, one.value)),
            None => (self.line, "this sync".to_owned()),
        }
    }
}

/// Letters of a value that are shown.
const SHOWN_MAX: usize = 60;
