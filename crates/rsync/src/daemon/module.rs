//! A module and the global part with all parameters resolved: defaults filled in, `%VAR%`
//! replaced.
//!
//! Called by `connection`: once to know who may enter, and again when the user is known, since a
//! `path` or `uid` may name the user. `from_flags` makes the same configuration without a file,
//! for `livemirror serve --module`.

use std::fmt;

use super::config::{ConfigPlace, DaemonConfig, Section, Values};
use super::expand::{Environment, expand};
use super::params::{Param, ParamValue, ROWS};

/// A module, resolved for one connection. Lists and word lists are as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// What clients ask for.
    pub name: Vec<u8>,
    /// Shown in the listing.
    pub comment: Vec<u8>,
    /// Directory it serves; empty is refused when a client enters.
    pub path: Vec<u8>,
    /// `use chroot`; unset decides by trying.
    pub use_chroot: Option<bool>,
    /// 0 unlimited, negative closed.
    pub max_connections: i64,
    /// Where its slots are counted.
    pub lock_file: Vec<u8>,
    /// Refuses uploads; `auth users` may decide otherwise for one user.
    pub read_only: bool,
    /// Refuses downloads.
    pub write_only: bool,
    /// Shown in the listing.
    pub list: bool,
    /// User to become; empty is nobody for root, no change for others.
    pub uid: Vec<u8>,
    /// Groups to become.
    pub gid: Vec<u8>,
    /// Daemon filter rules, in order of priority: `filter`, `include from`, `include`,
    /// `exclude from`, `exclude`.
    pub rules: ModuleRules,
    /// `incoming chmod`, applied last to everything received.
    pub incoming_chmod: Vec<u8>,
    /// `outgoing chmod`, applied to what is listed.
    pub outgoing_chmod: Vec<u8>,
    /// Who may log in; empty lets everybody in.
    pub auth_users: Vec<u8>,
    /// Weakest digest accepted; empty is no floor.
    pub auth_digest: Vec<u8>,
    /// Passwords.
    pub secrets_file: Vec<u8>,
    /// Whether the mode and owner of that file count.
    pub strict_modes: bool,
    /// Who may connect.
    pub hosts_allow: Vec<u8>,
    /// Who may not.
    pub hosts_deny: Vec<u8>,
    /// Whether the client's name is looked up.
    pub reverse_lookup: bool,
    /// Whether names in the two host lists are looked up.
    pub forward_lookup: bool,
    /// Deletes in spite of I/O errors.
    pub ignore_errors: bool,
    /// Logs each file.
    pub transfer_logging: bool,
    /// In this format.
    pub log_format: Vec<u8>,
    /// Empty is syslog.
    pub log_file: Vec<u8>,
    /// Number of the facility, 0..=23.
    pub syslog_facility: u8,
    /// Name in syslog.
    pub syslog_tag: Vec<u8>,
    /// Upper bound of the client's verbosity.
    pub max_verbosity: u8,
    /// Upper bound of the I/O timeout in seconds; 0 none.
    pub timeout_s: u32,
    /// Options it refuses.
    pub refuse_options: Vec<u8>,
    /// Only a `*` among the words has an effect: nothing is compressed.
    pub dont_compress: Vec<u8>,
    /// `munge symlinks`; unset munges unless the module is the root of its chroot.
    pub munge_symlinks: Option<bool>,
    /// Symlinks in paths are followed, whoever owns them and wherever they lead.
    pub insecure_links: bool,
    /// `numeric ids`; unset is on in a chroot.
    pub numeric_ids: Option<bool>,
    /// Leaves out what it may not read of the directories it lists.
    pub ignore_nonreadable: bool,
    /// `open noatime`; unset leaves it to the client.
    pub open_noatime: Option<bool>,
    /// Privileged attributes are kept in extended ones.
    pub fake_super: bool,
    /// Directory for files that are not finished, where a client names none.
    pub temp_dir: Vec<u8>,
    /// `early exec`, as written: `hooks` puts the variables in.
    pub early_exec: Vec<u8>,
    /// `pre-xfer exec`, as written.
    pub pre_exec: Vec<u8>,
    /// `post-xfer exec`, as written.
    pub post_exec: Vec<u8>,
    /// `name converter`, as written.
    pub name_converter: Vec<u8>,
    /// `charset`; empty if none.
    pub charset: Vec<u8>,
}

/// The five parameters that make the daemon's own filter list.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ModuleRules {
    /// `filter`: words, blanks inside a rule allowed.
    pub filter: Vec<u8>,
    /// `include from`: a file.
    pub include_from: Vec<u8>,
    /// `include`: words.
    pub include: Vec<u8>,
    /// `exclude from`: a file.
    pub exclude_from: Vec<u8>,
    /// `exclude`: words.
    pub exclude: Vec<u8>,
}

/// A value that grew beyond the bound while its variables were replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overgrown(pub Param);

impl fmt::Display for Overgrown {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = ROWS.get(self.0 as usize).map_or("", |row| row.name);
        write!(out, "the variables in \"{name}\" make it too long")
    }
}

impl Module {
    /// Fills in defaults and variables.
    pub fn resolve(section: &Section, environment: Environment<'_>) -> Result<Self, Overgrown> {
        Module::from_values(&section.values, section.name(environment), environment)
    }

    fn from_values(
        values: &Values,
        name: Vec<u8>,
        environment: Environment<'_>,
    ) -> Result<Self, Overgrown> {
        let text = |id| expand(&values.text(id), environment).ok_or(Overgrown(id));
        let rules = ModuleRules {
            filter: text(Param::Filter)?,
            include_from: text(Param::IncludeFrom)?,
            include: text(Param::Include)?,
            exclude_from: text(Param::ExcludeFrom)?,
            exclude: text(Param::Exclude)?,
        };
        Ok(Module {
            name,
            comment: text(Param::Comment)?,
            path: text(Param::Path)?,
            use_chroot: values.tri(Param::UseChroot),
            max_connections: values.int(Param::MaxConnections),
            lock_file: text(Param::LockFile)?,
            read_only: values.flag(Param::ReadOnly),
            write_only: values.flag(Param::WriteOnly),
            list: values.flag(Param::List),
            uid: text(Param::Uid)?,
            gid: text(Param::Gid)?,
            rules,
            incoming_chmod: text(Param::IncomingChmod)?,
            outgoing_chmod: text(Param::OutgoingChmod)?,
            auth_users: text(Param::AuthUsers)?,
            auth_digest: text(Param::AuthDigestFloor)?,
            secrets_file: text(Param::SecretsFile)?,
            strict_modes: values.flag(Param::StrictModes),
            hosts_allow: text(Param::HostsAllow)?,
            hosts_deny: text(Param::HostsDeny)?,
            reverse_lookup: values.flag(Param::ReverseLookup),
            forward_lookup: values.flag(Param::ForwardLookup),
            ignore_errors: values.flag(Param::IgnoreErrors),
            transfer_logging: values.flag(Param::TransferLogging),
            log_format: text(Param::LogFormat)?,
            log_file: text(Param::LogFile)?,
            syslog_facility: u8::try_from(values.int(Param::SyslogFacility)).unwrap_or(3),
            syslog_tag: text(Param::SyslogTag)?,
            max_verbosity: u8::try_from(values.int(Param::MaxVerbosity).clamp(0, 255)).unwrap_or(1),
            timeout_s: u32::try_from(values.int(Param::Timeout)).unwrap_or(0),
            refuse_options: text(Param::RefuseOptions)?,
            dont_compress: text(Param::DontCompress)?,
            munge_symlinks: values.tri(Param::MungeSymlinks),
            insecure_links: values.flag(Param::InsecureLinks),
            numeric_ids: values.tri(Param::NumericIds),
            ignore_nonreadable: values.flag(Param::IgnoreNonreadable),
            open_noatime: values.tri(Param::OpenNoatime),
            fake_super: values.flag(Param::FakeSuper),
            temp_dir: text(Param::TempDir)?,
            early_exec: values.text(Param::EarlyExec),
            name_converter: values.text(Param::NameConverter),
            charset: values.text(Param::Charset),
            pre_exec: values.text(Param::PreXferExec),
            post_exec: values.text(Param::PostXferExec),
        })
    }

    /// The path cut at its first `/./`: the directory to change the root to, and the directory
    /// served below it. Without such a mark the second is `/`.
    pub fn chroot_parts(&self) -> (Vec<u8>, Vec<u8>) {
        match self.path.windows(3).position(|window| window == b"/./") {
            Some(at) => {
                let (outer, inner) = self.path.split_at(at);
                let inner = inner.get(2..).unwrap_or_default().to_vec();
                let outer = if outer.is_empty() { b"/".to_vec() } else { outer.to_vec() };
                (outer, inner)
            }
            None => (self.path.clone(), b"/".to_vec()),
        }
    }

    /// Whether a `*` in `dont compress` turns compression off for everything it sends.
    pub fn compresses_nothing(&self) -> bool {
        self.dont_compress.split(u8::is_ascii_whitespace).any(|word| word == b"*")
    }
}

/// The global part, resolved. What modules inherit is in `defaults`.
#[derive(Clone, Debug)]
pub struct Globals {
    /// Address to listen on; empty is all of every family.
    pub address: Vec<u8>,
    /// Port to listen on; 0 lets the system choose.
    pub port: u16,
    /// Root directory of every connection, before anything is said; empty is none.
    pub chroot: Vec<u8>,
    /// User of every connection from then on; empty is no change.
    pub uid: Vec<u8>,
    /// Its group.
    pub gid: Vec<u8>,
    /// Whether every connection comes from a proxy and begins with its header.
    pub proxy_protocol: bool,
    /// The proxies; nobody else may send one.
    pub proxy_hosts: Vec<u8>,
    /// Sent after the greeting.
    pub motd_file: Vec<u8>,
    /// Where the listener writes its process id.
    pub pid_file: Vec<u8>,
    /// Options of the sockets, as written.
    pub socket_options: Vec<u8>,
    /// Connections that may wait for the listener.
    pub listen_backlog: i32,
    /// Log file, syslog and look-ups before a module is known.
    pub defaults: Module,
}

impl DaemonConfig {
    /// The global part with its variables replaced.
    pub fn globals(&self, environment: Environment<'_>) -> Result<Globals, Overgrown> {
        let text = |id| expand(&self.globals.text(id), environment).ok_or(Overgrown(id));
        let int = |id| self.globals.int(id);
        Ok(Globals {
            address: text(Param::Address)?,
            port: u16::try_from(int(Param::Port)).unwrap_or(0),
            chroot: text(Param::DaemonChroot)?,
            uid: text(Param::DaemonUid)?,
            gid: text(Param::DaemonGid)?,
            proxy_protocol: self.globals.flag(Param::ProxyProtocol),
            proxy_hosts: text(Param::ProxyProtocolHosts)?,
            motd_file: text(Param::MotdFile)?,
            pid_file: text(Param::PidFile)?,
            socket_options: text(Param::SocketOptions)?,
            listen_backlog: i32::try_from(int(Param::ListenBacklog)).unwrap_or(5).max(1),
            defaults: Module::from_values(&self.globals, Vec::new(), environment)?,
        })
    }

    /// The module of exactly this name.
    pub fn find(&self, name: &[u8], environment: Environment<'_>) -> Option<&Section> {
        self.sections.iter().find(|section| section.name(environment) == name)
    }
}

/// What `livemirror serve --module NAME=PATH` says instead of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServeFlags {
    /// Modules: name and directory.
    pub modules: Vec<(Vec<u8>, Vec<u8>)>,
    /// User that may log in; none lets everybody in.
    pub user: Option<Vec<u8>>,
    /// File with `user:password` lines.
    pub secrets: Option<Vec<u8>>,
    /// Port to listen on.
    pub port: Option<u16>,
    /// Address to listen on.
    pub address: Option<Vec<u8>>,
}

/// A percent sign that must stay one: variables are not meant on a command line.
fn literal(text: &[u8]) -> ParamValue {
    ParamValue::Text(text.to_vec())
}

impl DaemonConfig {
    /// A configuration without a file: writable modules, served as the user who runs the program
    /// (`owner`: user and group id), nobody's file needed. Names and paths count as written, so a
    /// `%VAR%` in them is refused, as is what a name or path cannot be.
    pub fn from_flags(flags: &ServeFlags, owner: (u32, u32)) -> Result<Self, String> {
        let place = |flag: &str| ConfigPlace { file: flag.as_bytes().into(), line: 0 };
        let mut config = DaemonConfig::default();
        if flags.modules.is_empty() {
            return Err("--module NAME=PATH is missing".into());
        }
        if flags.user.is_some() != flags.secrets.is_some() {
            return Err("--user NAME and --secrets FILE go together".into());
        }
        let globals = &mut config.globals;
        globals.set(Param::ReadOnly, ParamValue::Bool(false), place("--module"));
        for (id, own) in [(Param::Uid, owner.0), (Param::Gid, owner.1)] {
            if owner.0 == 0 {
                globals.set(id, literal(own.to_string().as_bytes()), place("--module"));
            }
        }
        if let (Some(user), Some(secrets)) = (&flags.user, &flags.secrets) {
            globals.set(Param::AuthUsers, literal(user), place("--user"));
            globals.set(Param::SecretsFile, literal(secrets), place("--secrets"));
        }
        if let Some(port) = flags.port {
            globals.set(Param::Port, ParamValue::Int(i64::from(port)), place("--port"));
        }
        if let Some(address) = &flags.address {
            globals.set(Param::Address, literal(address), place("--address"));
        }
        for (name, path) in &flags.modules {
            let shown = String::from_utf8_lossy(name);
            if name.is_empty() || name.iter().any(|b| matches!(b, b'/' | b'\n' | b'#')) {
                return Err(format!("--module: a module cannot be named \"{shown}\""));
            }
            if path.is_empty() || path.contains(&b'%') {
                return Err(format!("--module {shown}: the path is empty or holds a \"%\""));
            }
            if config.sections.iter().any(|section| section.header == *name) {
                return Err(format!("--module: {shown} is named twice"));
            }
            let mut values = config.globals.clone();
            values.set(Param::Path, literal(path), place("--module"));
            let section = Section { header: name.clone(), place: place("--module"), values };
            config.sections.push(section);
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::super::config::parse;
    use super::*;

    fn module(text: &str, user: &str) -> Module {
        let loader = |_: &[u8], _: &str| Ok(vec![(b"conf".to_vec(), text.as_bytes().to_vec())]);
        let user = user.as_bytes().to_vec();
        let environment = |name: &[u8]| (name == b"RSYNC_USER_NAME").then(|| user.clone());
        let config = parse(b"conf", &[], &loader, &environment).unwrap();
        Module::resolve(&config.sections[0], &environment).unwrap()
    }

    #[test]
    fn defaults_are_those_of_the_manual() {
        let module = module("[m]", "");
        assert!(module.read_only && module.list && module.strict_modes && module.reverse_lookup);
        assert!(!module.write_only && !module.transfer_logging && !module.ignore_errors);
        assert_eq!(module.use_chroot, None);
        assert_eq!(module.lock_file, b"/var/run/rsyncd.lock");
        assert_eq!(module.log_format, b"%o %h [%a] %m (%u) %f %l");
        assert_eq!((module.max_verbosity, module.syslog_facility), (1, 3));
        assert_eq!(module.syslog_tag, b"rsyncd");
    }

    #[test]
    fn variables_are_replaced_when_the_user_is_known() {
        let text = "[m]\npath = /home/%RSYNC_USER_NAME%/\nuid = %RSYNC_USER_NAME%\n";
        let module = module(text, "bob");
        assert_eq!((&module.path[..], &module.uid[..]), (&b"/home/bob"[..], &b"bob"[..]));
    }

    #[test]
    fn a_dot_element_divides_the_path() {
        let parts = |path: &str| module(&format!("[m]\npath = {path}"), "").chroot_parts();
        assert_eq!(parts("/var/rsync/./one"), (b"/var/rsync".to_vec(), b"/one".to_vec()));
        assert_eq!(parts("/var/rsync"), (b"/var/rsync".to_vec(), b"/".to_vec()));
        assert_eq!(parts("/./x"), (b"/".to_vec(), b"/x".to_vec()));
    }

    #[test]
    fn flags_make_writable_modules() {
        let mut flags = ServeFlags {
            modules: vec![(b"a".to_vec(), b"/a".to_vec()), (b"b".to_vec(), b"/b".to_vec())],
            port: Some(0),
            ..ServeFlags::default()
        };
        let config = DaemonConfig::from_flags(&flags, (0, 0)).unwrap();
        let module = Module::resolve(&config.sections[1], &|_| None).unwrap();
        assert_eq!((&module.path[..], &module.uid[..]), (&b"/b"[..], &b"0"[..]));
        assert!(!module.read_only);
        assert_eq!(config.globals(&|_| None).unwrap().port, 0);
        flags.user = Some(b"bob".to_vec());
        assert!(DaemonConfig::from_flags(&flags, (0, 0)).is_err());
        flags.secrets = Some(b"/s".to_vec());
        assert!(DaemonConfig::from_flags(&flags, (0, 0)).is_ok());
        flags.modules.push((b"a".to_vec(), b"/c".to_vec()));
        assert!(DaemonConfig::from_flags(&flags, (0, 0)).is_err());
    }
}
