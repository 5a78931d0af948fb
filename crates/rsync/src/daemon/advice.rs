//! What is wrong or risky in a configuration that can be read: one line each, with its way out.
//!
//! Called by `listen` at start, for the log and the standard error, and by `livemirror check`. The
//! facts about files come through closures, so the rules are tested without any. A line is given
//! once, however many modules inherit the setting.

use std::fmt;
use std::io;

use tree::meta::Meta;

use crate::charset::Charset;

use super::config::{ConfigPlace, DaemonConfig, Section};
use super::files::{self, SecretsFile};
use super::log::shown_line;
use super::module::Module;
use super::params::{Param, ParamKind, ParamValue, ROWS};
use super::{access, enter, secrets};

/// A remark about a line of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advice {
    /// Where.
    pub place: ConfigPlace,
    /// What it is about, as written: a setting, a line, a file.
    pub value: String,
    /// What happens because of it, without a newline.
    pub text: String,
    /// What to do; empty if that follows from the text.
    pub fix: String,
    /// Something will not work, as opposed to a risk.
    pub fatal: bool,
    /// What a program may do about it by itself.
    pub repair: Option<Repair>,
}

/// A change that mends something and can harm nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repair {
    /// Make a directory, those above it included.
    MakeDir(Vec<u8>),
    /// Give a file to its owner alone (mode 600).
    OwnerOnly(Vec<u8>),
}

impl Advice {
    /// A risk; `text` and `fix` as the fields.
    pub fn new(place: ConfigPlace, value: impl Into<String>, text: impl Into<String>) -> Advice {
        let (mut value, text, fix) = (value.into(), text.into(), String::new());
        if let Some((at, _)) = value.char_indices().nth(VALUE_SHOWN_MAX) {
            value.truncate(at);
            value.push_str("...");
        }
        Advice { place, value, text, fix, fatal: false, repair: None }
    }

    /// The same with its way out.
    pub fn fix(self, fix: impl Into<String>) -> Advice {
        Advice { fix: fix.into(), ..self }
    }

    /// The same as something that will not work.
    pub fn fatal(self) -> Advice {
        Advice { fatal: true, ..self }
    }

    /// The same with what a program may do.
    pub fn repair(self, repair: Repair) -> Advice {
        Advice { repair: Some(repair), ..self }
    }
}

impl fmt::Display for Advice {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fix = if self.fix.is_empty() { String::new() } else { format!("; {}", self.fix) };
        let line = format!("{}: {}: {}{fix}", self.place, self.value, self.text);
        out.write_str(&shown_line(&line))
    }
}

/// User and groups of a module's requests, `None` for those of the process; or the wrong name.
pub type Served = Result<Option<(u32, Vec<u32>)>, String>;

/// What is asked of the system.
pub struct LintFacts<'a> {
    /// A directory that can be opened: what it is.
    pub directory: &'a dyn Fn(&[u8]) -> io::Result<Meta>,
    /// A secrets file.
    pub secrets: &'a dyn Fn(&[u8]) -> io::Result<SecretsFile>,
    /// What a module's requests are served as.
    pub ids: &'a dyn Fn(&Module) -> Served,
    /// The SELinux type of a directory, where that decides.
    pub label: &'a dyn Fn(&[u8]) -> Option<Vec<u8>>,
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

/// Letters of a value that are shown; a file that is no configuration may be one line.
const VALUE_SHOWN_MAX: usize = 200;

/// Passwords that are guessed first.
const GUESSED: &[&[u8]] =
    &[b"123456", b"12345678", b"123456789", b"password", b"passwd", b"rsync", b"secret", b"admin"];

/// All remarks about a configuration on this system.
pub fn lint(config: &DaemonConfig) -> Vec<Advice> {
    let root = config.globals.text(Param::DaemonChroot);
    let inside = |path: &[u8]| match root.as_slice() {
        [] => path.to_vec(),
        root => [root, b"/", path].concat(),
    };
    let facts = LintFacts {
        directory: &|path| files::look_at_directory(&inside(path)),
        secrets: &|path| files::read_secrets(&inside(path)),
        ids: &|module| enter::ids(module).map_err(|end| end.reason()),
        label: &|path| files::selinux_type(&inside(path)),
        euid: tree::owner::effective_uid(),
    };
    lint_with(config, &facts)
}

/// The same with the facts as arguments.
pub fn lint_with(config: &DaemonConfig, facts: &LintFacts<'_>) -> Vec<Advice> {
    let mut found: Vec<Advice> = Vec::new();
    proxies(config, &mut found);
    let globals = Section {
        header: Vec::new(),
        place: ConfigPlace::default(),
        values: config.globals.clone(),
    };
    if let Ok(module) = Module::resolve(&globals, &files::system_variable) {
        let mut lint = Lint { section: &globals, module: &module, facts, found: &mut found };
        lint.folder(Param::PidFile);
    }
    for section in &config.sections {
        let Ok(module) = Module::resolve(section, &files::system_variable) else { continue };
        let mut lint = Lint { section, module: &module, facts, found: &mut found };
        lint.comments();
        lint.hosts();
        lint.path();
        lint.open_to_all();
        lint.logins();
        lint.charset();
        lint.folder(Param::LogFile);
        lint.folder(Param::LockFile);
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
        let text = "no proxy is trusted: every connection is refused";
        let advice = Advice::new(setting.place.clone(), "proxy protocol = yes", text);
        found.push(advice.fix("set proxy protocol hosts to the proxy's address").fatal());
    }
}

struct Lint<'a> {
    section: &'a Section,
    module: &'a Module,
    facts: &'a LintFacts<'a>,
    found: &'a mut Vec<Advice>,
}

impl Lint<'_> {
    /// A line about a parameter as it is set, at its place, or of the header where it is not set.
    fn about(&self, id: Param, text: String) -> Advice {
        let row = ROWS.get(id as usize).map_or("", |row| row.name);
        match self.section.values.setting(id) {
            Some(setting) => {
                let value = match &setting.value {
                    ParamValue::Text(text) => String::from_utf8_lossy(text).into_owned(),
                    ParamValue::Bool(flag) | ParamValue::Tri(Some(flag)) => {
                        if *flag {
                            "yes".into()
                        } else {
                            "no".into()
                        }
                    }
                    ParamValue::Tri(None) => "unset".into(),
                    ParamValue::Int(number) => number.to_string(),
                };
                Advice::new(setting.place.clone(), format!("{row} = {value}"), text)
            }
            None => Advice::new(self.section.place.clone(), format!("[{}]", self.name()), text),
        }
    }

    /// Adds a line, once.
    fn add(&mut self, advice: Advice) {
        if !self.found.contains(&advice) {
            self.found.push(advice);
        }
    }

    fn name(&self) -> String {
        String::from_utf8_lossy(&self.module.name).into_owned()
    }

    fn comments(&mut self) {
        for row in ROWS.iter().filter(|row| matches!(row.kind, ParamKind::Text | ParamKind::Path)) {
            if FREE_TEXT.contains(&row.id) || self.comment(row.id).is_none() {
                continue;
            }
            let text = "rsyncd.conf has no comments behind a value: all of it is the value".into();
            let advice = self.about(row.id, text).fix("put the comment on a line of its own");
            self.add(advice.fatal());
        }
    }

    /// Where a comment seems to stand behind the value of a parameter.
    fn comment(&self, id: Param) -> Option<usize> {
        self.section.values.text(id).windows(2).position(|pair| matches!(pair, b" #" | b"\t#"))
    }

    fn hosts(&mut self) {
        let (allow, deny) = (&self.module.hosts_allow, &self.module.hosts_deny);
        let nobody = |list: &[u8]| {
            let tokens = access::tokens(list);
            !tokens.is_empty() && tokens.iter().all(|token| access::matches_nobody(token))
        };
        let (nobody_allowed, nobody_denied) = (nobody(allow), nobody(deny));
        if !access::tokens(allow).is_empty() && nobody_denied {
            let text = "matches no client, and with it hosts allow keeps nobody out: everybody is \
                        let in";
            let advice = self.about(Param::HostsDeny, text.into());
            self.add(advice.fix("delete the line, or write *"));
        }
        if nobody_allowed {
            let text = "matches no client: everybody is refused".into();
            let advice = self.about(Param::HostsAllow, text);
            self.add(advice.fix("did you mean 0.0.0.0/0?").fatal());
        }
    }

    fn charset(&mut self) {
        let name = Some(self.module.charset.as_slice()).filter(|name| !name.is_empty());
        if Charset::open(name).is_err() {
            let text = "this system knows no such charset: every client is turned away".into();
            let advice = self.about(Param::Charset, text).fix("write a name that iconv -l lists");
            self.add(advice.fatal());
        }
    }

    fn path(&mut self) {
        let path = &self.module.path;
        let shown = String::from_utf8_lossy(path).into_owned();
        if path.is_empty() {
            let text = format!("module {} has no path: no client can enter", self.name());
            let advice = self.about(Param::Path, text).fix("write path = DIRECTORY");
            return self.add(advice.fatal());
        }
        if path.contains(&b'%') || self.comment(Param::Path).is_some() {
            return;
        }
        let name = self.name();
        let advice = match (self.facts.directory)(path) {
            Ok(meta) => {
                self.selinux();
                return self.rights(&meta);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let text = format!("does not exist: whoever asks for module {name} is refused");
                let advice = self.about(Param::Path, text).fix(format!("mkdir -p {shown}"));
                advice.repair(Repair::MakeDir(path.clone()))
            }
            Err(error) => {
                let cause = super::log::cause(&error);
                self.about(Param::Path, format!("module {name} cannot be entered: {cause}"))
                    .fix("correct the path or its rights")
            }
        };
        self.add(advice.fatal());
    }

    /// A daemon that the system starts may reach directories of its own types alone.
    fn selinux(&mut self) {
        let Some(label) = (self.facts.label)(&self.module.path) else { return };
        let may = match label.as_slice() {
            b"rsync_data_t" | b"public_content_rw_t" => true,
            b"public_content_t" => self.module.read_only,
            _ => false,
        };
        if !may {
            let shown = String::from_utf8_lossy(&self.module.path).into_owned();
            let label = String::from_utf8_lossy(&label).into_owned();
            let text = format!(
                "SELinux keeps an rsync daemon that is a service out of {label}: permission denied, \
                 whatever the modes"
            );
            let fix =
                format!("setsebool -P rsync_full_access 1, or chcon -R -t rsync_data_t {shown}");
            let advice = self.about(Param::Path, text).fix(fix);
            self.add(advice);
        }
    }

    /// What user the module is served as, and what that user may do with its directory.
    fn rights(&mut self, meta: &Meta) {
        let served = match (self.facts.ids)(self.module) {
            Ok(served) => served,
            Err(text) => {
                let fix = "write the name or number of an account that exists here";
                let advice = self.about(Param::Uid, text).fix(fix);
                return self.add(advice.fatal());
            }
        };
        let Some((uid, groups)) = served else { return };
        let shown = String::from_utf8_lossy(&self.module.path).into_owned();
        if self.facts.euid != 0 && uid != self.facts.euid {
            let text = "the daemon can change its user only as root: every client is refused";
            let advice = self.about(Param::Uid, text.into());
            self.add(advice.fix("remove uid and gid, or start the daemon as root").fatal());
        }
        if self.module.read_only || uid == 0 {
            return;
        }
        let bits = match () {
            () if meta.uid == uid => meta.mode >> 6,
            () if groups.contains(&meta.gid) => meta.mode >> 3,
            () => meta.mode,
        };
        let (owner, mode) = (meta.uid, meta.mode & 0o7777);
        if bits & 0o3 != 0o3 {
            let text = format!(
                "user {uid} cannot write {shown} (owner {owner}, mode {mode:o}): every file fails"
            );
            let advice = self.about(Param::Uid, text);
            self.add(advice.fix(format!("chown {uid} {shown}, or set another uid")).fatal());
        } else if meta.uid != uid {
            let text = format!(
                "user {uid} cannot set the times of {shown}, which belongs to {owner}: a copy of \
                 them ends with code 23 each time"
            );
            let advice = self.about(Param::Uid, text);
            self.add(advice.fix(format!("chown {uid} {shown}")));
        }
    }

    fn open_to_all(&mut self) {
        let root = match self.module.uid.as_slice() {
            [] => false,
            uid => matches!(uid, b"0" | b"root") && self.facts.euid == 0,
        };
        let name = self.name();
        if self.module.read_only {
            return;
        }
        if !root {
            let open = access::tokens(&self.module.hosts_allow).is_empty()
                && access::tokens(&self.module.hosts_deny).is_empty();
            if open && secrets::entries(&self.module.auth_users).is_empty() {
                let text = format!("module {name} is writable by whoever reaches the port");
                let advice = self.about(Param::ReadOnly, text);
                self.add(advice.fix("set auth users and secrets file, or hosts allow"));
            }
            return;
        }
        if secrets::entries(&self.module.auth_users).is_empty() {
            let text = format!("module {name} is writable without a login, as root");
            let advice = self.about(Param::ReadOnly, text);
            self.add(advice.fix("set auth users and secrets file, or a uid of its own"));
        } else if self.module.use_chroot == Some(false) {
            let text = format!(
                "module {name} is written as root without a chroot, over a protocol in clear text: \
                 only for a trusted network"
            );
            let advice = self.about(Param::UseChroot, text);
            self.add(advice.fix("set use chroot = yes, or a uid of its own"));
        }
    }

    /// A file whose directory is missing.
    fn folder(&mut self, id: Param) {
        let path = self.section.values.text(id);
        let Some(at) = path.iter().rposition(|b| *b == b'/').filter(|at| *at > 0) else { return };
        let folder = path.get(..at).unwrap_or_default();
        let missing = |error: io::Error| error.kind() == io::ErrorKind::NotFound;
        if path.contains(&b'%') || !(self.facts.directory)(folder).is_err_and(missing) {
            return;
        }
        let shown = String::from_utf8_lossy(folder).into_owned();
        let advice = self.about(id, format!("the directory {shown} does not exist"));
        let advice = advice.fix(format!("mkdir -p {shown}"));
        self.add(advice.fatal().repair(Repair::MakeDir(folder.to_vec())));
    }

    fn logins(&mut self) {
        let users = secrets::entries(&self.module.auth_users);
        if users.is_empty() {
            return;
        }
        let path = &self.module.secrets_file;
        if path.is_empty() {
            let text = "there is no secrets file: no login works".into();
            let advice = self.about(Param::AuthUsers, text).fix("write secrets file = FILE");
            return self.add(advice.fatal());
        }
        if path.contains(&b'%') || self.comment(Param::SecretsFile).is_some() {
            return;
        }
        if path.first() != Some(&b'/') {
            let text = "is looked for where the daemon is started".into();
            let advice = self.about(Param::SecretsFile, text).fix("write its full path");
            self.add(advice);
        }
        let file = match (self.facts.secrets)(path) {
            Ok(file) => file,
            Err(error) => {
                let text = format!("no login works: {}", super::log::cause(&error));
                let advice = self.about(Param::SecretsFile, text);
                let fix = "make it: one line user:password for each user, mode 600";
                return self.add(advice.fix(self.stray(path).unwrap_or(fix.into())).fatal());
            }
        };
        self.secret_mode(&file, path);
        self.secret_lines(&file.content, path, &users);
    }

    /// A file of the same name with entries, where a relative path would have put it.
    fn stray(&self, path: &[u8]) -> Option<String> {
        let name = path.rsplit(|b| *b == b'/').next()?;
        let conf = self.section.place.file.rsplitn(2, |b| *b == b'/').nth(1).unwrap_or(b".");
        [conf, b".", b"/root", b""].iter().find_map(|dir| {
            let other = [dir, b"/".as_slice(), name].concat();
            let file = (self.facts.secrets)(&other).ok()?;
            let shown = String::from_utf8_lossy(&other);
            (other != path && file.content.contains(&b':'))
                .then(|| format!("{shown} has an entry: was it written there by mistake?"))
        })
    }

    fn secret_mode(&mut self, file: &SecretsFile, path: &[u8]) {
        if !self.module.strict_modes {
            return;
        }
        let shown = String::from_utf8_lossy(path).into_owned();
        let advice = if file.mode & 0o006 != 0 {
            let mode = file.mode & 0o7777;
            let text = format!("has mode {mode:o} and is refused: no login works");
            let advice = self.about(Param::SecretsFile, text).fix(format!("chmod 600 {shown}"));
            advice.repair(Repair::OwnerOnly(path.to_vec()))
        } else if self.facts.euid == 0 && file.owner != 0 {
            let owner = file.owner;
            let text = format!("belongs to user {owner} and is refused: no login works");
            self.about(Param::SecretsFile, text).fix(format!("chown root {shown}"))
        } else {
            return;
        };
        self.add(advice.fatal());
    }

    fn secret_lines(&mut self, content: &[u8], path: &[u8], users: &[&[u8]]) {
        let mut names: Vec<&[u8]> = Vec::new();
        for (index, line) in content.split(|b| *b == b'\n').enumerate() {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.is_empty() || line.first() == Some(&b'#') {
                continue;
            }
            let place = ConfigPlace { file: path.into(), line: index + 1 };
            let Some(at) = line.iter().position(|b| *b == b':') else {
                // The value is not shown: it may be a password.
                let text = "is not user:password, so it lets nobody in";
                let advice = Advice::new(place, "the line", text).fix("write user:password");
                self.add(advice.fatal());
                continue;
            };
            let (user, password) = (line.get(..at).unwrap_or_default(), line.get(at + 1..));
            names.push(user);
            let shown = String::from_utf8_lossy(user).into_owned();
            let found = match password.unwrap_or_default() {
                [.., last] if last.is_ascii_whitespace() => (
                    "ends in a blank, which is part of the password",
                    format!("remove the blank at column {}", line.len()),
                ),
                [.., b'\\', b'n'] => (
                    "ends in the two letters \\n, which are part of the password",
                    "remove them".to_owned(),
                ),
                password if password == user || GUESSED.contains(&password) => {
                    ("has a password that is guessed first", "choose another".to_owned())
                }
                _ => continue,
            };
            self.add(Advice::new(place, format!("user {shown}"), found.0).fix(found.1));
        }
        for user in users {
            let user = user.split(|b| *b == b':').next().unwrap_or_default();
            let pattern = super::glob::is_pattern(user) || user.starts_with(b"@");
            if pattern || names.contains(&user) {
                continue;
            }
            let (count, shown) = (names.len(), String::from_utf8_lossy(path));
            let user = String::from_utf8_lossy(user);
            let text = format!(
                "user {user} cannot log in: {shown} has {count} entries, none of that name"
            );
            let fix = format!("add the line {user}:PASSWORD");
            let fix = if names.is_empty() { self.stray(path).unwrap_or(fix) } else { fix };
            let advice = self.about(Param::AuthUsers, text).fix(fix);
            self.add(advice.fatal());
        }
    }
}

#[cfg(test)]
#[path = "advice_tests.rs"]
mod tests;
