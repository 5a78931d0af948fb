//! One thing found in a configuration, with its renderings and what can be done about it at once.

use std::fmt;

use rsync::daemon::advice::{Advice, Repair};
use rsync::daemon::log::shown_line;
use serde::Serialize;

use super::facts;
use crate::config::toml::ConfigError;

/// One thing found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The file.
    pub file: String,
    /// Line, from 1; 0 when the file as a whole is meant.
    pub line: usize,
    /// What it is about, as written; may be empty.
    pub value: String,
    /// What will happen.
    pub text: String,
    /// What to do; may be empty.
    pub fix: String,
    /// Something will not work, as opposed to a risk.
    pub fatal: bool,
    /// What [`Finding::repair`] would do.
    #[serde(skip)]
    pub repair: Option<Repair>,
}

impl Finding {
    /// A risk.
    pub fn new(file: &str, at: (usize, String), text: impl Into<String>) -> Finding {
        Finding {
            file: file.to_owned(),
            line: at.0,
            value: at.1,
            text: text.into(),
            fix: String::new(),
            fatal: false,
            repair: None,
        }
    }

    /// The same with its way out.
    pub fn fix(self, fix: impl Into<String>) -> Finding {
        Finding { fix: fix.into(), ..self }
    }

    /// The same as something that will not work.
    pub fn fatal(self) -> Finding {
        Finding { fatal: true, ..self }
    }

    /// The same with what can be done at once.
    pub fn with_repair(self, repair: Repair) -> Finding {
        Finding { repair: Some(repair), ..self }
    }

    /// One line of JSON.
    pub fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Does what can be done safely. Returns what was done, `None` where nothing can be. Errors: why
    /// it failed.
    pub fn repair(&self) -> Option<Result<String, String>> {
        let shown = |path: &[u8]| String::from_utf8_lossy(path).into_owned();
        let (what, done) = match self.repair.as_ref()? {
            Repair::MakeDir(path) => (format!("mkdir -p {}", shown(path)), facts::make_dir(path)),
            Repair::OwnerOnly(path) => (format!("chmod 600 {}", shown(path)), facts::close(path)),
        };
        Some(match done {
            Ok(()) => Ok(what),
            Err(error) => Err(format!("{what}: {error}")),
        })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = self.file.clone();
        if self.line > 0 {
            line.push_str(&format!(":{}", self.line));
        }
        for (sign, part) in [(": ", &self.value), (": ", &self.text), ("; ", &self.fix)] {
            if !part.is_empty() {
                line.push_str(sign);
                line.push_str(part);
            }
        }
        f.write_str(&shown_line(&line))
    }
}

impl From<Advice> for Finding {
    fn from(advice: Advice) -> Finding {
        Finding {
            file: String::from_utf8_lossy(&advice.place.file).into_owned(),
            line: advice.place.line,
            value: advice.value,
            text: advice.text,
            fix: advice.fix,
            fatal: advice.fatal,
            repair: advice.repair,
        }
    }
}

impl From<ConfigError> for Finding {
    fn from(error: ConfigError) -> Finding {
        Finding::new(&error.file, (error.line, String::new()), error.text).fatal()
    }
}

/// What a program ends with that found this: 0 nothing, 1 risks, 2 something will not work.
pub fn exit_code(found: &[Finding]) -> i32 {
    match found.iter().any(|one| one.fatal) {
        true => 2,
        false => i32::from(!found.is_empty()),
    }
}
