//! What is wrong or risky in a configuration that can be read: one line each, with its way out.
//!
//! Called by `listen` at start, for the log and the standard error, and by `livemirror check`. The
//! facts about files come through closures, so the rules are tested without any. A line is given
//! once, however many modules inherit the setting.

use std::fmt;
use std::io;

use super::access;
use super::config::{ConfigPlace, DaemonConfig, Section};
use super::files::{self, SecretsFile};
use super::module::Module;
use super::params::{Param, ParamKind, ROWS};
use super::secrets;

/// A remark about a line of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advice {
    /// Where.
    pub place: ConfigPlace,
    /// What, without a newline.
    pub text: String,
}

impl fmt::Display for Advice {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.place, self.text)
    }
}

/// What is asked of the system.
pub struct LintFacts<'a> {
    /// Whether a path is a directory that can be opened.
    pub directory: &'a dyn Fn(&[u8]) -> io::Result<()>,
    /// A secrets file.
    pub secrets: &'a dyn Fn(&[u8]) -> io::Result<SecretsFile>,
    /// The user the daemon runs as.
    pub euid: u32,
}

/// Parameters whose values may well hold a number sign.
const FREE_TEXT: &[Param] = &[
    Param::Comment,
    Param::LogFormat,
    Param::Filter,
    Param::Exclude,
    Param::Include,
    Param::SyslogTag,
    Param::Name,
];

/// All remarks about a configuration on this system.
pub fn lint(config: &DaemonConfig) -> Vec<Advice> {
    let root = config.globals.text(Param::DaemonChroot);
    let inside = |path: &[u8]| match root.as_slice() {
        [] => path.to_vec(),
        root => [root, b"/", path].concat(),
    };
    let facts = LintFacts {
        directory: &|path| files::check_directory(&inside(path)),
        secrets: &|path| files::read_secrets(&inside(path)),
        euid: tree::owner::effective_uid(),
    };
    lint_with(config, &facts)
}

/// The same with the facts as arguments.
pub fn lint_with(config: &DaemonConfig, facts: &LintFacts<'_>) -> Vec<Advice> {
    let mut found: Vec<Advice> = Vec::new();
    proxies(config, &mut found);
    for section in &config.sections {
        let Ok(module) = Module::resolve(section, &files::system_variable) else { continue };
        let mut lint = Lint { section, module: &module, facts, found: &mut found };
        lint.comments();
        lint.hosts();
        lint.path();
        lint.open_to_all();
        lint.logins();
    }
    found
}

/// Who is behind a proxy that nobody is trusted to be cannot come in.
fn proxies(config: &DaemonConfig, found: &mut Vec<Advice>) {
    let listed = config.globals.text(Param::ProxyProtocolHosts);
    if let Some(setting) = config.globals.setting(Param::ProxyProtocol)
        && config.globals.flag(Param::ProxyProtocol)
        && listed.trim_ascii().is_empty()
    {
        let text = "\"proxy protocol = true\" but \"proxy protocol hosts\" is unset: all connections \
                    will be rejected as untrusted proxy peers. Set \"proxy protocol hosts\" to your \
                    proxy's address.";
        found.push(Advice { place: setting.place.clone(), text: text.to_string() });
    }
}

struct Lint<'a> {
    section: &'a Section,
    module: &'a Module,
    facts: &'a LintFacts<'a>,
    found: &'a mut Vec<Advice>,
}

impl Lint<'_> {
    /// Adds a line at the place of a parameter, or of the header where it is not set.
    fn add(&mut self, id: Param, text: String) {
        let setting = self.section.values.setting(id);
        let place = setting.map_or(&self.section.place, |setting| &setting.place).clone();
        let advice = Advice { place, text };
        if !self.found.contains(&advice) {
            self.found.push(advice);
        }
    }

    fn name(&self) -> String {
        String::from_utf8_lossy(&self.module.name).into_owned()
    }

    fn comments(&mut self) {
        for row in ROWS.iter().filter(|row| matches!(row.kind, ParamKind::Text | ParamKind::Path)) {
            if FREE_TEXT.contains(&row.id) {
                continue;
            }
            let value = self.section.values.text(row.id);
            let Some(at) = value.windows(2).position(|pair| matches!(pair, b" #" | b"\t#")) else {
                continue;
            };
            let comment = String::from_utf8_lossy(value.get(at + 1..).unwrap_or_default());
            let text = format!(
                "rsyncd.conf has no comments behind a value; \"{comment}\" is part of \"{}\"",
                row.name
            );
            self.add(row.id, text);
        }
    }

    fn hosts(&mut self) {
        let (allow, deny) = (&self.module.hosts_allow, &self.module.hosts_deny);
        let nobody = |list: &[u8]| {
            let tokens = access::tokens(list);
            !tokens.is_empty() && tokens.iter().all(|token| access::matches_nobody(token))
        };
        if !access::tokens(allow).is_empty() && nobody(deny) {
            let text = format!(
                "hosts deny {} matches no client, and with it hosts allow keeps nobody out of \
                 module {}: delete the line, or write *",
                String::from_utf8_lossy(deny),
                self.name()
            );
            self.add(Param::HostsDeny, text);
        }
        if nobody(allow) {
            let allow = String::from_utf8_lossy(allow);
            let text = format!("hosts allow {allow} matches no client; did you mean 0.0.0.0/0?");
            self.add(Param::HostsAllow, text);
        }
    }

    fn path(&mut self) {
        let path = &self.module.path;
        let shown = String::from_utf8_lossy(path).into_owned();
        let name = self.name();
        if path.is_empty() {
            self.add(Param::Path, format!("module {name} has no path: no client can enter"));
        } else if !path.contains(&b'%') {
            let text = match (self.facts.directory)(path).map_err(|error| error.kind()) {
                Ok(()) => return,
                Err(io::ErrorKind::NotFound) => {
                    format!("module {name}: path {shown} does not exist: mkdir -p {shown}")
                }
                Err(io::ErrorKind::NotADirectory) => {
                    format!("module {name}: path {shown} is not a directory")
                }
                Err(kind) => format!("module {name}: path {shown} cannot be opened: {kind}"),
            };
            self.add(Param::Path, text);
        }
    }

    fn open_to_all(&mut self) {
        let root = match self.module.uid.as_slice() {
            [] => false,
            uid => matches!(uid, b"0" | b"root") && self.facts.euid == 0,
        };
        let anyone = secrets::entries(&self.module.auth_users).is_empty();
        if !self.module.read_only && anyone && root {
            let name = self.name();
            let text = format!(
                "module {name} is writable without a login, as root: set auth users and secrets \
                 file, or a uid of its own"
            );
            self.add(Param::ReadOnly, text);
        }
    }

    fn logins(&mut self) {
        let users = secrets::entries(&self.module.auth_users);
        if users.is_empty() {
            return;
        }
        let name = self.name();
        let path = &self.module.secrets_file;
        if path.is_empty() {
            let text = format!("module {name} has auth users but no secrets file: no login works");
            return self.add(Param::AuthUsers, text);
        }
        if path.contains(&b'%') {
            return;
        }
        let shown = String::from_utf8_lossy(path).into_owned();
        if path.first() != Some(&b'/') {
            let text = format!(
                "secrets file {shown} is looked for where the daemon is started: write its full path"
            );
            self.add(Param::SecretsFile, text);
        }
        let file = match (self.facts.secrets)(path) {
            Ok(file) => file,
            Err(error) => {
                let cause = super::log::cause(&error);
                let text = format!("secrets file {shown} cannot be read: {cause}");
                return self.add(Param::SecretsFile, text);
            }
        };
        self.secret_mode(&file, &shown);
        self.secret_lines(&file.content, &shown, &users);
    }

    fn secret_mode(&mut self, file: &SecretsFile, shown: &str) {
        if !self.module.strict_modes {
            return;
        }
        if file.mode & 0o006 != 0 {
            let mode = file.mode & 0o7777;
            let text =
                format!("secrets file {shown} has mode {mode:o} and is refused: chmod 600 {shown}");
            self.add(Param::SecretsFile, text);
        } else if self.facts.euid == 0 && file.owner != 0 {
            let owner = file.owner;
            let text = format!(
                "secrets file {shown} belongs to user {owner} and is refused: chown root {shown}"
            );
            self.add(Param::SecretsFile, text);
        }
    }

    fn secret_lines(&mut self, content: &[u8], shown: &str, users: &[&[u8]]) {
        let mut names: Vec<&[u8]> = Vec::new();
        for (index, line) in content.split(|b| *b == b'\n').enumerate() {
            let number = index + 1;
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.is_empty() || line.first() == Some(&b'#') {
                continue;
            }
            let Some(at) = line.iter().position(|b| *b == b':') else {
                let text = format!("line {number} of {shown} is not user:password");
                self.add(Param::SecretsFile, text);
                continue;
            };
            names.push(line.get(..at).unwrap_or_default());
            if line.last().is_some_and(u8::is_ascii_whitespace) {
                let text = format!(
                    "line {number} of {shown} ends in a blank, which is part of the password"
                );
                self.add(Param::SecretsFile, text);
            }
        }
        for user in users {
            let user = user.split(|b| *b == b':').next().unwrap_or_default();
            let pattern = super::glob::is_pattern(user) || user.starts_with(b"@");
            if !pattern && !names.contains(&user) {
                let count = names.len();
                let user = String::from_utf8_lossy(user);
                let text = format!(
                    "user {user} is in auth users but not among the {count} entries of {shown}"
                );
                self.add(Param::SecretsFile, text);
            }
        }
    }
}

#[cfg(test)]
#[path = "advice_tests.rs"]
mod tests;
