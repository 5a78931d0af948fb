//! A directory of one test, which goes with it.

use std::fs;
use std::path::PathBuf;

/// Its path.
pub struct Place(pub PathBuf);

impl Place {
    /// Made for this process, under a name that tells the test.
    pub fn new(name: &str) -> Place {
        let name = format!("livemirror-{name}-{}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        fs::create_dir_all(&dir).unwrap();
        Place(dir)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
