//! Reading `rsyncd.conf`: sections, defaults, includes; every remark with its file and line.
//!
//! Called by `listen` at start and by `connection` anew for each client. In steps: the file is
//! split into lines (`text`); a parameter goes to the current module or to the defaults; a section
//! header copies the defaults in force into a new module; `&include` reads with a copy of the
//! defaults that is dropped afterwards and leaves the reader in the global part, as the real
//! program does; `&merge` reads as if the text stood there.
//!
//! Unknown parameters and lines without `=` are remarks, not errors. Strings keep their `%VAR%`
//! until a connection resolves them (`module`).

use std::fmt;
use std::io;
use std::sync::Arc;

use wire::exit::ExitCode;

use super::advice::Advice;
use super::expand::{Environment, expand};
use super::params::{self, Param, ParamKind, ParamRow, ParamScope, ParamValue, ROWS};
use super::text::{Item, Line, lines};

/// Files within files. Deeper nesting is a file that includes itself.
const INCLUDE_DEPTH_MAX: usize = 16;

/// A line of a configuration file.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ConfigPlace {
    /// Path as it was given or included; a command line option if that is where it came from.
    pub file: Arc<[u8]>,
    /// Counted from 1; 0 when it is not from a file.
    pub line: usize,
}

impl fmt::Display for ConfigPlace {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = String::from_utf8_lossy(&self.file);
        match self.line {
            0 => write!(out, "{file}"),
            line => write!(out, "{file}:{line}"),
        }
    }
}

/// A value and where it was set.
#[derive(Clone, Debug)]
pub struct Setting {
    /// What it was set to.
    pub value: ParamValue,
    /// Where.
    pub place: ConfigPlace,
}

/// What a module, or the global part, sets; unset parameters have the default of their row.
#[derive(Clone, Debug)]
pub struct Values(Vec<Option<Setting>>);

impl Default for Values {
    fn default() -> Self {
        Values(vec![None; ROWS.len()])
    }
}

impl Values {
    /// The setting, if there is one.
    pub fn setting(&self, id: Param) -> Option<&Setting> {
        self.0.get(id as usize)?.as_ref()
    }

    /// The value, set or default.
    pub fn value(&self, id: Param) -> ParamValue {
        self.setting(id).map_or_else(|| params::default_value(id), |setting| setting.value.clone())
    }

    /// A string as written; empty if it is not set.
    pub fn text(&self, id: Param) -> Vec<u8> {
        match self.value(id) {
            ParamValue::Text(text) => text,
            _ => Vec::new(),
        }
    }

    /// A boolean.
    pub fn flag(&self, id: Param) -> bool {
        self.value(id) == ParamValue::Bool(true)
    }

    /// A boolean that may be unset.
    pub fn tri(&self, id: Param) -> Option<bool> {
        match self.value(id) {
            ParamValue::Tri(flag) => flag,
            _ => None,
        }
    }

    /// A number.
    pub fn int(&self, id: Param) -> i64 {
        match self.value(id) {
            ParamValue::Int(number) => number,
            _ => 0,
        }
    }

    /// Sets a parameter.
    pub fn set(&mut self, id: Param, value: ParamValue, place: ConfigPlace) {
        if let Some(slot) = self.0.get_mut(id as usize) {
            *slot = Some(Setting { value, place });
        }
    }
}

/// One `[module]` as written.
#[derive(Clone, Debug)]
pub struct Section {
    /// Name of the header, blanks single.
    pub header: Vec<u8>,
    /// Where the header stands.
    pub place: ConfigPlace,
    /// Its parameters, the defaults in force at its header included.
    pub values: Values,
}

impl Section {
    /// The name clients ask for: `name` if it is set, else the header's.
    pub fn name(&self, environment: Environment<'_>) -> Vec<u8> {
        let name = self.values.text(Param::Name);
        let name = expand(&name, environment).unwrap_or_default();
        if name.is_empty() { self.header.clone() } else { name }
    }
}

/// A configuration as read.
#[derive(Clone, Debug, Default)]
pub struct DaemonConfig {
    /// The global part: its own parameters and the defaults for modules at the end of the file.
    pub globals: Values,
    /// The modules in the order of their first header.
    pub sections: Vec<Section>,
    /// What was ignored, and why.
    pub remarks: Vec<Advice>,
}

/// Why a configuration cannot be used.
#[derive(Debug)]
pub enum DaemonConfigError {
    /// A file could not be read.
    Unreadable {
        /// Which file, or the place that names it.
        place: ConfigPlace,
        /// `open` or `stat` and the path.
        what: String,
        /// Why.
        cause: io::Error,
    },
    /// The text cannot be understood.
    Grammar {
        /// Where.
        place: ConfigPlace,
        /// What is wrong.
        text: String,
    },
    /// A value of the reference's that is not there.
    Absent {
        /// Where it is set.
        place: ConfigPlace,
        /// Its name.
        name: &'static str,
    },
}

impl DaemonConfigError {
    /// How a daemon that cannot start because of it ends.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            DaemonConfigError::Absent { .. } => ExitCode::Unsupported,
            _ => ExitCode::Syntax,
        }
    }

    fn grammar(place: &ConfigPlace, text: impl Into<String>) -> Self {
        DaemonConfigError::Grammar { place: place.clone(), text: text.into() }
    }
}

impl fmt::Display for DaemonConfigError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DaemonConfigError::Unreadable { place, what, cause } => {
                let cause = super::log::cause(cause);
                match place.line {
                    0 => write!(out, "unable to {what}: {cause}"),
                    _ => write!(out, "{place}: unable to {what}: {cause}"),
                }
            }
            DaemonConfigError::Grammar { place, text } => write!(out, "{place}: {text}"),
            DaemonConfigError::Absent { place, name } => write!(
                out,
                "{place}: \"{name}\" is not implemented here: remove it, or leave it at its default"
            ),
        }
    }
}

impl std::error::Error for DaemonConfigError {}

/// A file to include: its path and content.
pub type Loaded = (Vec<u8>, Vec<u8>);

/// How files are read: a path, and the suffix that counts if it is a directory. Gives the file, or
/// the directory's matching files in byte order.
pub type Loader<'a> = &'a dyn Fn(&[u8], &str) -> io::Result<Vec<Loaded>>;

/// Reads a configuration file. `overrides` are `--dparam` words (`NAME=VALUE`), which count as if
/// they stood at the end of the first global part.
pub fn parse(
    path: &[u8],
    overrides: &[Vec<u8>],
    load: Loader<'_>,
    environment: Environment<'_>,
) -> Result<DaemonConfig, DaemonConfigError> {
    let place = ConfigPlace { file: path.into(), line: 0 };
    let shown = String::from_utf8_lossy(path);
    let loaded = load(path, "").map_err(|cause| DaemonConfigError::Unreadable {
        place,
        what: format!("open config file \"{shown}\""),
        cause,
    })?;
    let mut reader = Reader {
        config: DaemonConfig::default(),
        current: None,
        overrides: Some(overrides),
        load,
        environment,
    };
    for (path, content) in &loaded {
        reader.file(path, content, 0)?;
    }
    reader.apply_overrides()?;
    refuse_absent(&reader.config)?;
    Ok(reader.config)
}

struct Reader<'a> {
    config: DaemonConfig,
    /// The module being read; none in the global part.
    current: Option<usize>,
    /// Words of `--dparam`, until they are applied.
    overrides: Option<&'a [Vec<u8>]>,
    load: Loader<'a>,
    environment: Environment<'a>,
}

impl Reader<'_> {
    fn file(&mut self, path: &[u8], content: &[u8], depth: usize) -> Result<(), DaemonConfigError> {
        let file: Arc<[u8]> = path.into();
        for Line { number, item } in lines(content) {
            let place = ConfigPlace { file: file.clone(), line: number };
            match item {
                Item::Section(name) => self.section(name, place)?,
                Item::Directive { name, value } => self.directive(&name, &value, &place, depth)?,
                Item::Setting { name, value } => self.setting(&name, &value, &place)?,
                Item::Malformed(text) => self.malformed(&text, place),
                Item::Unclosed(text) => {
                    let text = String::from_utf8_lossy(&text);
                    let text = format!("Badly formed line in config file: [{text} (no \"]\")");
                    return Err(DaemonConfigError::grammar(&place, text));
                }
            }
        }
        Ok(())
    }

    fn section(&mut self, header: Vec<u8>, place: ConfigPlace) -> Result<(), DaemonConfigError> {
        if header.is_empty() {
            return Err(DaemonConfigError::grammar(&place, "Empty section name in config file."));
        }
        if header.contains(&b'/') {
            let header = String::from_utf8_lossy(&header);
            let text = format!("invalid section name in configuration file: {header}");
            return Err(DaemonConfigError::grammar(&place, text));
        }
        if params::squeezed(&header) == b"global" {
            self.current = None;
            return Ok(());
        }
        self.apply_overrides()?;
        let key = params::squeezed(&header);
        let same = |section: &Section| params::squeezed(&section.header) == key;
        self.current = self.config.sections.iter().position(same);
        if self.current.is_none() {
            self.current = Some(self.config.sections.len());
            let values = self.config.globals.clone();
            self.config.sections.push(Section { header, place, values });
        }
        Ok(())
    }

    fn directive(
        &mut self,
        name: &[u8],
        value: &[u8],
        place: &ConfigPlace,
        depth: usize,
    ) -> Result<(), DaemonConfigError> {
        let suffix = match name {
            b"include" => ".conf",
            b"merge" => ".inc",
            _ => {
                let text = format!("Unknown directive: &{}.", String::from_utf8_lossy(name));
                return Err(DaemonConfigError::grammar(place, text));
            }
        };
        if depth >= INCLUDE_DEPTH_MAX {
            let text = format!("files are included more than {INCLUDE_DEPTH_MAX} levels deep");
            return Err(DaemonConfigError::grammar(place, text));
        }
        let loaded = (self.load)(value, suffix).map_err(|cause| DaemonConfigError::Unreadable {
            place: place.clone(),
            what: format!("stat config file \"{}\"", String::from_utf8_lossy(value)),
            cause,
        })?;
        for (path, content) in loaded {
            if name == b"merge" {
                self.file(&path, &content, depth + 1)?;
                continue;
            }
            let outer = self.config.globals.clone();
            self.current = None;
            self.file(&path, &content, depth + 1)?;
            self.config.globals = outer;
            self.current = None;
        }
        Ok(())
    }

    fn setting(
        &mut self,
        name: &[u8],
        value: &[u8],
        place: &ConfigPlace,
    ) -> Result<(), DaemonConfigError> {
        if name.is_empty() {
            return Err(DaemonConfigError::grammar(
                place,
                "Invalid parameter name in config file.",
            ));
        }
        let shown = String::from_utf8_lossy(name);
        let Some(row) = params::lookup(name) else {
            let meant = params::nearest(name);
            let meant = meant.map(|known| format!("did you mean \"{known}\"?"));
            let fix = meant.unwrap_or_else(|| "remove the line".into());
            self.remark(place, &shown, "IGNORING unknown parameter".into(), fix);
            return Ok(());
        };
        if row.scope == ParamScope::Global && self.current.is_some() {
            let text = format!("Global parameter {} found in module section!", row.name);
            self.remark(place, &shown, text, "move it before the first [module]".into());
            return Ok(());
        }
        self.assign(row, value, place);
        Ok(())
    }

    /// Sets a parameter where the reader stands; a value that cannot be read is a remark.
    fn assign(&mut self, row: &ParamRow, value: &[u8], place: &ConfigPlace) {
        let expanded = match row.kind {
            ParamKind::Text | ParamKind::Path => None,
            _ => expand(value, self.environment),
        };
        let raw = expanded.as_deref().unwrap_or(value);
        let shown = format!("{} = {}", row.name, String::from_utf8_lossy(raw));
        let digits = raw.strip_prefix(b"-").unwrap_or(raw).first().is_some_and(u8::is_ascii_digit);
        if row.kind == ParamKind::Int && !digits {
            let text = "is no number and counts as 0".into();
            self.remark(place, &shown, text, "correct the value".into());
        }
        let value = match params::parse_value(row.kind, raw) {
            Ok(value) => value,
            Err(bad) => {
                let fix = match value.contains(&b'#') {
                    true => "a comment cannot follow a value: put it on a line of its own",
                    false => "correct the value",
                };
                let text = format!("{bad} \"{}\" keeps its value", row.name);
                self.remark(place, &shown, text, fix.into());
                return;
            }
        };
        let values = match self.current.and_then(|at| self.config.sections.get_mut(at)) {
            Some(section) => &mut section.values,
            None => &mut self.config.globals,
        };
        values.set(row.id, value, place.clone());
    }

    fn malformed(&mut self, text: &[u8], place: ConfigPlace) {
        let shown = String::from_utf8_lossy(text);
        let fix = match params::lookup(text) {
            Some(row) if row.kind == ParamKind::Bool || row.kind == ParamKind::Tri => {
                format!("write \"{} = yes\"", row.name)
            }
            _ => "write NAME = VALUE, or remove the line".into(),
        };
        self.remark(&place, &shown, "Ignoring badly formed line in config file".into(), fix);
    }

    fn remark(&mut self, place: &ConfigPlace, value: &str, text: String, fix: String) {
        self.config.remarks.push(Advice::new(place.clone(), value, text).fix(fix));
    }

    fn apply_overrides(&mut self) -> Result<(), DaemonConfigError> {
        let place = ConfigPlace { file: b"--dparam".as_slice().into(), line: 0 };
        for word in self.overrides.take().unwrap_or_default() {
            let shown = String::from_utf8_lossy(word);
            let Some(at) = word.iter().position(|b| *b == b'=') else {
                let text = format!("--dparam value is missing an '=': {shown}");
                return Err(DaemonConfigError::grammar(&place, text));
            };
            let (name, value) = word.split_at(at);
            let Some(row) = params::lookup(name) else {
                let text = format!("Unknown parameter \"{}\"", String::from_utf8_lossy(name));
                return Err(DaemonConfigError::grammar(&place, text));
            };
            let outer = self.current.take();
            self.assign(row, value.get(1..).unwrap_or_default().trim_ascii(), &place);
            self.current = outer;
        }
        Ok(())
    }
}

/// Refuses what of the reference's values is not there.
fn refuse_absent(config: &DaemonConfig) -> Result<(), DaemonConfigError> {
    let all = config.sections.iter().map(|section| &section.values);
    for values in all.chain(std::iter::once(&config.globals)) {
        for id in [Param::HostsAllow, Param::HostsDeny] {
            let netgroup = |token: &String| token.starts_with('@');
            if super::access::tokens(&values.text(id)).iter().any(netgroup) {
                let place = values.setting(id).map(|s| s.place.clone()).unwrap_or_default();
                return Err(DaemonConfigError::Absent {
                    place,
                    name: "@NETGROUP in a list of hosts",
                });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
