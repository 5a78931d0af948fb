//! What a daemon process is started with, and how it hands that to the process of a connection.
//!
//! Called by the program (from its command line), by `listen` (to start a connection's process)
//! and by `connection`. The words travel on the command line of our own program only; nothing
//! secret is among them, since passwords stay in their file.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use wire::exit::ExitCode;

use super::config::{self, DaemonConfig, DaemonConfigError};
use super::expand::Environment;
use super::files;
use super::module::{Globals, Overgrown, ServeFlags};

/// Where the configuration comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigSource {
    /// A file; it is read anew for each connection.
    File(Vec<u8>),
    /// The command line.
    Flags(ServeFlags),
}

/// The configuration file when none is named: one in the current directory for a user who came by
/// a remote shell, else the system's.
pub fn default_config(via_shell: bool) -> ConfigSource {
    let path: &[u8] = match via_shell && !tree::owner::am_root() {
        true => b"rsyncd.conf",
        false => b"/etc/rsyncd.conf",
    };
    ConfigSource::File(path.to_vec())
}

/// Why there is no configuration.
#[derive(Debug)]
pub enum LoadError {
    /// The file is missing or wrong.
    File(DaemonConfigError),
    /// The command line is wrong.
    Flags(String),
    /// A global value is too long with its variables.
    Overgrown(Overgrown),
}

impl fmt::Display for LoadError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoadError::File(error) => error.fmt(out),
            LoadError::Flags(text) => out.write_str(text),
            LoadError::Overgrown(overgrown) => overgrown.fmt(out),
        }
    }
}

impl LoadError {
    /// How a daemon that cannot start because of it ends.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            LoadError::File(error) => error.exit_code(),
            LoadError::Flags(_) => ExitCode::Syntax,
            LoadError::Overgrown(_) => ExitCode::Malloc,
        }
    }
}

/// What a daemon that speaks TLS has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// Its certificate and those between it and a root.
    pub cert: Vec<u8>,
    /// The private key.
    pub key: Vec<u8>,
    /// Certificates that a client's must come from; without, none is asked for.
    pub client_ca: Option<Vec<u8>>,
}

/// The part of a daemon's command line that a connection needs too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// The configuration.
    pub source: ConfigSource,
    /// `--dparam` words, `NAME=VALUE`.
    pub overrides: Vec<Vec<u8>>,
    /// `--log-file`: replaces every module's.
    pub log_file: Option<Vec<u8>>,
    /// `--log-file-format`: replaces every module's, and turns transfer logging on.
    pub log_format: Option<Vec<u8>>,
    /// `--bwlimit` in bytes per second, an upper bound for clients; 0 none.
    pub bwlimit: u64,
    /// `--sockopts`, in place of `socket options`.
    pub socket_options: Option<Vec<u8>>,
    /// `--verbose`, counted: with it, addresses that cannot be bound are told beside others.
    pub verbose: u8,
    /// With it, every connection is within TLS.
    pub tls: Option<TlsFiles>,
}

impl Service {
    /// Nothing but a configuration.
    pub fn new(source: ConfigSource) -> Self {
        Service {
            source,
            overrides: Vec::new(),
            log_file: None,
            log_format: None,
            bwlimit: 0,
            socket_options: None,
            verbose: 0,
            tls: None,
        }
    }

    /// Reads the configuration and resolves its global part.
    pub fn load(&self, environment: Environment<'_>) -> Result<(DaemonConfig, Globals), LoadError> {
        let config = self.read(environment)?;
        let globals = config.globals(environment).map_err(LoadError::Overgrown)?;
        Ok((config, globals))
    }

    fn read(&self, environment: Environment<'_>) -> Result<DaemonConfig, LoadError> {
        match &self.source {
            ConfigSource::File(path) => {
                config::parse(path, &self.overrides, &files::load_config, environment)
                    .map_err(LoadError::File)
            }
            ConfigSource::Flags(flags) => {
                let owner = (rustix::process::geteuid(), rustix::process::getegid());
                DaemonConfig::from_flags(flags, (owner.0.as_raw(), owner.1.as_raw()))
                    .map_err(LoadError::Flags)
            }
        }
    }

    /// Words for [`Service::from_words`].
    pub fn to_words(&self) -> Vec<OsString> {
        let mut words = Vec::new();
        let mut add = |key: &str, value: &[u8]| {
            words.push(OsString::from_vec([key.as_bytes(), b"=", value].concat()));
        };
        match &self.source {
            ConfigSource::File(path) => add("config", path),
            ConfigSource::Flags(flags) => {
                for (name, path) in &flags.modules {
                    add("module", &[name, path.as_slice()].join(&b'='));
                }
                flags.user.iter().for_each(|user| add("user", user));
                flags.secrets.iter().for_each(|file| add("secrets", file));
                flags.port.iter().for_each(|port| add("port", port.to_string().as_bytes()));
                flags.address.iter().for_each(|address| add("address", address));
            }
        }
        self.overrides.iter().for_each(|word| add("dparam", word));
        self.log_file.iter().for_each(|file| add("log-file", file));
        self.log_format.iter().for_each(|format| add("log-format", format));
        self.socket_options.iter().for_each(|options| add("sockopts", options));
        if let Some(tls) = &self.tls {
            add("tls-cert", &tls.cert);
            add("tls-key", &tls.key);
            tls.client_ca.iter().for_each(|file| add("tls-client-ca", file));
        }
        add("bwlimit", self.bwlimit.to_string().as_bytes());
        add("verbose", self.verbose.to_string().as_bytes());
        words
    }

    /// Reads what [`Service::to_words`] wrote; `None` for anything else.
    pub fn from_words<W: AsRef<OsStr>>(words: &[W]) -> Option<Self> {
        let mut flags = ServeFlags::default();
        let mut file = None;
        let mut tls = TlsFiles { cert: Vec::new(), key: Vec::new(), client_ca: None };
        let mut service = Service::new(ConfigSource::File(Vec::new()));
        for word in words {
            let (key, value) = split_at_equals(word.as_ref().as_bytes())?;
            let owned = value.to_vec();
            let number = || std::str::from_utf8(value).ok()?.parse::<u64>().ok();
            match key {
                b"config" => file = Some(owned),
                b"module" => {
                    let (name, path) = split_at_equals(value)?;
                    flags.modules.push((name.to_vec(), path.to_vec()));
                }
                b"user" => flags.user = Some(owned),
                b"secrets" => flags.secrets = Some(owned),
                b"port" => flags.port = Some(u16::try_from(number()?).ok()?),
                b"address" => flags.address = Some(owned),
                b"dparam" => service.overrides.push(owned),
                b"log-file" => service.log_file = Some(owned),
                b"log-format" => service.log_format = Some(owned),
                b"sockopts" => service.socket_options = Some(owned),
                b"tls-cert" => tls.cert = owned,
                b"tls-key" => tls.key = owned,
                b"tls-client-ca" => tls.client_ca = Some(owned),
                b"bwlimit" => service.bwlimit = number()?,
                b"verbose" => service.verbose = u8::try_from(number()?).ok()?,
                _ => return None,
            }
        }
        service.tls = Some(tls).filter(|tls| !tls.cert.is_empty());
        service.source = match file {
            Some(path) => ConfigSource::File(path),
            None => ConfigSource::Flags(flags),
        };
        Some(service)
    }
}

fn split_at_equals(word: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = word.iter().position(|b| *b == b'=')?;
    Some((word.get(..at)?, word.get(at + 1..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_back_as_they_were() {
        let mut service = Service::new(ConfigSource::File(b"/etc/r=s.conf\xff".to_vec()));
        service.overrides = vec![b"port=8".to_vec(), b"comment=a b".to_vec()];
        service.log_file = Some(b"/l".to_vec());
        service.bwlimit = 1 << 40;
        service.tls = Some(TlsFiles {
            cert: b"/c=\xff".to_vec(),
            key: b"/k".to_vec(),
            client_ca: Some(b"/a".to_vec()),
        });
        assert_eq!(Service::from_words(&service.to_words()), Some(service));
        let flags = ServeFlags {
            modules: vec![(b"a".to_vec(), b"/x=y".to_vec()), (b"b".to_vec(), b"/z".to_vec())],
            user: Some(b"bob".to_vec()),
            secrets: Some(b"/s".to_vec()),
            port: Some(0),
            address: None,
        };
        let service = Service::new(ConfigSource::Flags(flags));
        assert_eq!(Service::from_words(&service.to_words()), Some(service));
        assert_eq!(Service::from_words(&["nonsense"]), None);
    }
}
