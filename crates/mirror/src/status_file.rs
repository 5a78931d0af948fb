//! The status as a file in the form of lsyncd's, for those who look there.
//!
//! Kept by `run::runner` while a mirror runs: written anew when something has changed, at most once
//! in the interval. What lsyncd tells of its watches has no counterpart; the last error stands there
//! instead.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rsync::options::FilterArg;

use crate::config::{Config, StatusFile, SyncConfig};
use crate::status::Status;

/// Keeps one status file.
#[derive(Debug)]
pub struct StatusWriter {
    file: StatusFile,
    due: Instant,
    /// The body last written; one that could not be written counts, so that it is told once.
    last: Option<String>,
}

impl StatusWriter {
    /// Nothing is written yet.
    pub fn new(file: StatusFile) -> StatusWriter {
        StatusWriter { file, due: Instant::now(), last: None }
    }

    /// Writes the file if it is time to and there is something new. Errors: a line.
    pub fn keep(&mut self, status: &dyn Fn() -> Status, config: &Config) -> Result<(), String> {
        if Instant::now() < self.due {
            return Ok(());
        }
        self.due = Instant::now() + Duration::from_secs(self.file.interval_s.max(1));
        let body = body(&status(), &config.syncs);
        if self.last.as_ref() == Some(&body) {
            return Ok(());
        }
        let time = jiff::Zoned::now().strftime("%a %b %e %H:%M:%S %Y");
        let text = format!("Lsyncd status report at {time}\n\n{body}");
        let path = Path::new(OsStr::from_bytes(&self.file.path));
        self.last = Some(body);
        std::fs::write(path, text)
            .map_err(|error| format!("cannot write the status file {}: {error}", path.display()))
    }
}

fn body(status: &Status, syncs: &[SyncConfig]) -> String {
    let mut out = String::new();
    for (one, config) in status.syncs.iter().zip(syncs) {
        let slash = if one.source.ends_with('/') { "" } else { "/" };
        out.push_str(&format!("{} source={}{slash}\n", one.name, one.source));
        out.push_str(&format!("There are {} delays\n", one.queue));
        if let Some(error) = &one.last_error {
            out.push_str(&format!("Last error at {}: {}\n", error.at, error.text));
        }
        out.push_str("Filtering:\n");
        if config.options.filters.is_empty() {
            out.push_str("  nothing.\n");
        }
        for rule in &config.options.filters {
            let (sign, pattern) = match rule {
                FilterArg::Exclude(pattern) => ("- ", pattern),
                FilterArg::Include(pattern) => ("+ ", pattern),
                FilterArg::Rule(rule) => ("", rule),
                FilterArg::ExcludeFrom(file) | FilterArg::IncludeFrom(file) => ("from ", file),
            };
            out.push_str(&format!("  {sign}{}\n", String::from_utf8_lossy(pattern)));
        }
        out.push_str("\n\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::SyncStatus;

    #[test]
    fn the_file_is_written_when_something_has_changed() {
        // A failure would leave what people grep for stale, or write it all the time.
        let path = std::env::temp_dir().join(format!("lm-statusfile-{}", std::process::id()));
        let file = StatusFile { path: path.as_os_str().as_bytes().to_vec(), interval_s: 0 };
        let mut sync = SyncConfig::new(b"/a/", b"/b");
        sync.options.filters.push(FilterArg::Exclude(b"*.o".to_vec()));
        let config = Config::new(vec![sync]);
        let status = |queue| Status {
            syncs: vec![SyncStatus {
                name: "Sync1".into(),
                source: "/a".into(),
                queue,
                ..SyncStatus::default()
            }],
            ..Status::default()
        };
        let mut writer = StatusWriter::new(file);
        writer.keep(&|| status(3), &config).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("Lsyncd status report at "), "{text}");
        let wanted = "\n\nSync1 source=/a/\nThere are 3 delays\nFiltering:\n  - *.o\n\n\n";
        assert!(text.ends_with(wanted), "{text}");
        std::fs::remove_file(&path).unwrap();
        writer.due = Instant::now();
        writer.keep(&|| status(3), &config).unwrap();
        assert!(!path.exists(), "nothing has changed");
        writer.due = Instant::now();
        writer.keep(&|| status(0), &config).unwrap();
        assert!(path.exists());
        std::fs::remove_file(&path).unwrap();
        writer.file.path = b"/no/such/place/x".to_vec();
        writer.due = Instant::now();
        assert!(writer.keep(&|| status(1), &config).is_err());
    }
}
