//! What syncs make of each other, and of the daemon they send to when its configuration is given.

use std::path::PathBuf;

use rsync::daemon::access::{self, ClientPeer};
use rsync::daemon::config::{ConfigPlace, DaemonConfig};
use rsync::daemon::files::system_variable;
use rsync::daemon::module::Module;
use rsync::daemon::params::Param;
use rsync::daemon::secrets::{AuthRule, SecretCheck, check_secret, entries, rule_for};
use rsync::location::{self, DAEMON_PORT, Location};

use super::finding::Finding;
use super::{CheckedFiles, PlacedSync, facts};
use crate::config::toml::nearest;

const TARGET: &[&str] = &["target", "host", "targetdir"];

/// Adds what does not fit together.
pub fn judge(held: &CheckedFiles, found: &mut Vec<Finding>) {
    circles(held, found);
    // With several hosts nobody says which of them a configuration is for.
    let mut hosts: Vec<Vec<u8>> = held.syncs.iter().filter_map(|s| Some(daemon(s)?.host)).collect();
    hosts.sort();
    hosts.dedup();
    for (file, config) in &held.daemons {
        let sole = hosts.len() == 1 && held.daemons.len() == 1;
        let mut used: Vec<(Vec<u8>, usize, usize)> = Vec::new();
        for placed in &held.syncs {
            let Some(target) = daemon(placed) else { continue };
            let mut ends = Ends { placed, target: &target, file, config, found };
            if let Some(name) = ends.judge(sole) {
                let count = placed.config.processes;
                match used.iter_mut().find(|(known, ..)| *known == name) {
                    Some((_, syncs, all)) => (*syncs, *all) = (*syncs + 1, *all + count),
                    None => used.push((name, 1, count)),
                }
            }
        }
        for (name, syncs, processes) in used {
            connections(config, &name, syncs, processes, found);
        }
    }
}

/// A target that is a daemon.
struct DaemonTarget {
    user: Option<Vec<u8>>,
    host: Vec<u8>,
    port: u16,
    module: Vec<u8>,
}

fn daemon(placed: &PlacedSync) -> Option<DaemonTarget> {
    match location::parse(&placed.config.target, &placed.config.options).ok()? {
        Location::Daemon { user, host, port, module_path, .. } => {
            let module = module_path.split(|&b| b == b'/').next().unwrap_or_default().to_vec();
            Some(DaemonTarget { user, host, port: port.unwrap_or(DAEMON_PORT), module })
        }
        _ => None,
    }
}

/// The local directory that a target stands for, if that can be known.
fn place(placed: &PlacedSync, held: &CheckedFiles) -> Option<PathBuf> {
    match location::parse(&placed.config.target, &placed.config.options).ok()? {
        Location::Local(path) => Some(facts::resolved(&path)),
        Location::Shell { host, path, .. }
            if facts::is_loopback(&host) && path.starts_with(b"/") =>
        {
            Some(facts::resolved(&path))
        }
        Location::Daemon { host, module_path, .. } if facts::is_loopback(&host) => {
            let mut parts = module_path.splitn(2, |&b| b == b'/');
            let name = parts.next()?;
            let modules = held.daemons.iter().filter_map(|(_, config)| module(config, name));
            let path = modules.map(|module| module.path).next()?;
            Some(facts::resolved(&[&path, &b"/"[..], parts.next().unwrap_or_default()].concat()))
        }
        _ => None,
    }
}

/// Syncs whose targets are each other's sources.
fn circles(held: &CheckedFiles, found: &mut Vec<Finding>) {
    let known: Vec<(&PlacedSync, PathBuf, PathBuf)> = held
        .syncs
        .iter()
        .filter_map(|s| Some((s, facts::resolved(&s.config.source), place(s, held)?)))
        .collect();
    let touches = |a: &PathBuf, b: &PathBuf| a.starts_with(b) || b.starts_with(a);
    for (at, (one, source, target)) in known.iter().enumerate() {
        // Follows what is fed from here; back at the start is a circle.
        let mut seen = vec![false; known.len()];
        let mut todo = vec![(target, at)];
        while let Some((fed, by)) = todo.pop() {
            for (next, (_, from, to)) in known.iter().enumerate() {
                let fresh = !seen.get(next).copied().unwrap_or(true);
                if next != by && fresh && touches(fed, from) {
                    seen[next] = true;
                    todo.push((to, next));
                }
            }
        }
        let feeds_itself = seen.get(at).copied().unwrap_or(false);
        if feeds_itself && !touches(source, target) {
            let text = "what is sent here comes back to the source through another sync: each \
                        change goes in circles";
            let finding = Finding::new(&one.origin.file, one.origin.find(TARGET), text);
            found.push(finding.fix("mirror in one direction").fatal());
        }
    }
}

fn module(config: &DaemonConfig, name: &[u8]) -> Option<Module> {
    let found = config.sections.iter().find(|s| s.name(&system_variable) == name)?;
    Module::resolve(found, &system_variable).ok()
}

/// Each sync sends on one connection; lsyncd takes as many as it may have processes, which are no
/// fewer than the syncs.
fn connections(
    config: &DaemonConfig,
    name: &[u8],
    syncs: usize,
    processes: usize,
    found: &mut Vec<Finding>,
) {
    let Some(module) = module(config, name) else { return };
    let allowed = usize::try_from(module.max_connections).unwrap_or(0);
    let section = config.sections.iter().find(|s| s.name(&system_variable) == name);
    let setting = section.and_then(|s| s.values.setting(Param::MaxConnections));
    if let Some(setting) = setting.filter(|_| allowed != 0 && processes > allowed) {
        let who = match syncs > allowed {
            true => format!("{syncs} syncs send"),
            false => format!("lsyncd sends with up to {processes} processes"),
        };
        let text = format!("{who} to module {}: some are turned away", shown(name));
        let at = (setting.place.line, format!("max connections = {allowed}"));
        let file = shown(&setting.place.file);
        found.push(Finding::new(&file, at, text).fix(format!("raise it to {processes} or more")));
    }
}

struct Ends<'a> {
    placed: &'a PlacedSync,
    target: &'a DaemonTarget,
    file: &'a str,
    config: &'a DaemonConfig,
    found: &'a mut Vec<Finding>,
}

impl Ends<'_> {
    fn about(&self, keys: &[&str], text: impl Into<String>) -> Finding {
        let origin = &self.placed.origin;
        Finding::new(&origin.file, origin.find(keys), text)
    }

    /// The name of the module, if the sync uses one of this daemon.
    fn judge(&mut self, sole: bool) -> Option<Vec<u8>> {
        let name = &self.target.module;
        let Some(module) = module(self.config, name) else {
            if sole {
                self.unknown();
            }
            return None;
        };
        let port = u16::try_from(self.config.globals.int(Param::Port)).unwrap_or(0);
        if sole && port != 0 && port != self.target.port {
            let text = format!(
                "sends to port {}, where {} listens on {port}",
                self.target.port, self.file
            );
            let finding = self.about(TARGET, text).fix("write the same port at both ends");
            self.found.push(finding.fatal());
        }
        self.admitted(&module);
        self.rights(&module);
        Some(name.clone())
    }

    fn unknown(&mut self) {
        let names: Vec<String> =
            self.config.sections.iter().map(|s| shown(&s.name(&system_variable))).collect();
        let all: Vec<&str> = names.iter().map(String::as_str).collect();
        let name = shown(&self.target.module);
        let text = format!("{} has no module {name}: every transfer is refused", self.file);
        let fix = match nearest(&name, &all) {
            Some(near) => format!("did you mean {near}?"),
            None => format!("it has {}", all.join(", ")),
        };
        let finding = self.about(TARGET, text).fix(fix);
        self.found.push(finding.fatal());
    }

    /// Whether the module lets this machine's address in, as far as addresses alone decide that.
    fn admitted(&mut self, module: &Module) {
        let lists = [&module.hosts_allow, &module.hosts_deny];
        let is_address = |token: &String| token.bytes().all(|b| b"0123456789./*".contains(&b));
        let Some(addr) = facts::own_address(&self.target.host, self.target.port) else { return };
        let proxied = self.config.globals.flag(Param::ProxyProtocol);
        if proxied || !lists.iter().all(|list| access::tokens(list).iter().all(is_address)) {
            return;
        }
        let peer = ClientPeer { addr, scope: None, host: b"UNDETERMINED".to_vec() };
        if access::check(&module.hosts_allow, &module.hosts_deny, &peer, None).allowed {
            return;
        }
        let name = shown(&module.name);
        let says = if module.list { "" } else { ", and the answer is \"Unknown module\"" };
        let text =
            format!("this machine is {addr} there, which module {name} does not admit{says}");
        let finding = self.about(TARGET, text);
        let finding = finding.fix(format!("add {addr} to hosts allow in {}", self.file));
        self.found.push(if addr.is_loopback() { finding.fatal() } else { finding });
    }

    fn rights(&mut self, module: &Module) {
        let name = shown(&module.name);
        let mut read_only = module.read_only;
        if !entries(&module.auth_users).is_empty() {
            match self.login(module) {
                Some(decided) => read_only = decided.unwrap_or(read_only),
                None => return,
            }
        }
        if read_only {
            let (at, value) = self.setting(&module.name, Param::ReadOnly);
            let text = format!("module {name} is read only, and a sync sends to it");
            let finding = Finding::new(&shown(&at.file), (at.line, value), text);
            self.found.push(finding.fix("set read only = no").fatal());
        }
    }

    /// Where a parameter of a module is set, or the module's header.
    fn setting(&self, name: &[u8], id: Param) -> (ConfigPlace, String) {
        let section = self.config.sections.iter().find(|s| s.name(&system_variable) == name);
        let header = || (section.map(|s| s.place.clone()).unwrap_or_default(), String::new());
        let (place, value) = section
            .and_then(|s| s.values.setting(id))
            .map_or_else(header, |set| (set.place.clone(), "read only = yes".to_owned()));
        let value = if value.is_empty() { format!("[{}]", shown(name)) } else { value };
        (place, value)
    }

    /// Whether the user may log in; inside, what the entry says of `read only`.
    fn login(&mut self, module: &Module) -> Option<Option<bool>> {
        let (name, users) = (shown(&module.name), shown(&module.auth_users));
        let fix = format!("write rsync://USER@HOST/{name} with one of: {users}");
        let Some(user) = &self.target.user else {
            let text = format!("module {name} wants a login, and the target names no user");
            let finding = self.about(TARGET, text).fix(fix);
            self.found.push(finding);
            return None;
        };
        let by_group = entries(&module.auth_users).iter().any(|entry| entry.starts_with(b"@"));
        let read_only = match rule_for(&module.auth_users, user, &Vec::new) {
            AuthRule::Allowed { read_only, .. } => read_only,
            AuthRule::NoMatch if by_group => return Some(None),
            AuthRule::NoMatch | AuthRule::Denied => {
                let text = format!("user {} is not let into module {name}", shown(user));
                let finding = self.about(TARGET, text).fix(fix);
                self.found.push(finding.fatal());
                return None;
            }
        };
        let Some(file) = &self.placed.config.options.password_file else {
            let text = format!("module {name} wants a password, and there is no password file");
            let finding = self.about(TARGET, text).fix("set password_file");
            self.found.push(finding);
            return Some(read_only);
        };
        let (Ok(own), Ok(secrets)) = (facts::read(file), facts::read(&module.secrets_file)) else {
            return Some(read_only);
        };
        let own = own.split(|b| b"\r\n".contains(b)).next().unwrap_or_default();
        let same = |password: &[u8]| password == own;
        if !own.is_empty() && check_secret(&secrets, user, None, &same) == SecretCheck::Mismatch {
            let text = format!(
                "the password is not that of {} in {}: no login works",
                shown(user),
                shown(&module.secrets_file)
            );
            let finding = self
                .about(&["password_file", "rsync.password_file", "rsync._extra", "options"], text);
            self.found.push(finding.fix("write the same password into both").fatal());
        }
        Some(read_only)
    }
}

fn shown(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
}
