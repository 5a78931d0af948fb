//! One sync by itself: its source, its rules, its password, its speed.

use rsync::daemon::advice::Repair;
use rsync::location::{self, Location};
use rsync::options::FilterArg;
use tree::notify::mounts;

use super::finding::Finding;
use super::{PlacedSync, facts};
use crate::config::SyncConfig;
use crate::plan::exclude::Exclude;
use crate::report::{bytes, seconds};
use crate::run::guard::refuse_overlap;
use crate::run::job::Job;
use crate::watch::BackendChoice;

/// Adds what is wrong with one sync.
pub fn judge(placed: &PlacedSync, found: &mut Vec<Finding>) {
    let mut judge = Judge { placed, config: &placed.config, found };
    judge.source();
    if placed.config.script {
        // What becomes of it is known to its program alone.
        return;
    }
    judge.target();
    judge.password();
    judge.shell();
    judge.rules();
}

struct Judge<'a> {
    placed: &'a PlacedSync,
    config: &'a SyncConfig,
    found: &'a mut Vec<Finding>,
}

impl Judge<'_> {
    /// A line about the first of these settings that was written.
    fn about(&self, keys: &[&str], text: impl Into<String>) -> Finding {
        let origin = &self.placed.origin;
        Finding::new(&origin.file, origin.find(keys), text)
    }

    fn source(&mut self) {
        let source = &self.config.source;
        if let Err(error) = facts::directory(source) {
            let shown = shown(source);
            let (text, fix) = match error.kind() {
                std::io::ErrorKind::NotFound => {
                    ("does not exist: the mirror does not start".to_owned(), "mkdir -p ")
                }
                _ => (format!("cannot be mirrored: {error}"), "correct the path "),
            };
            let finding = self.about(&["source"], text).fix(format!("{fix}{shown}"));
            return self.found.push(finding.fatal());
        }
        let kind = tree::root::Root::open(source).and_then(|root| mounts::fs_kind(root.top().fd()));
        if let Ok(kind) = kind
            && kind.remote
        {
            let text = format!(
                "is on {}: changes made on other machines are not seen, only at the next start",
                kind.name
            );
            let finding = self.about(&["source"], text);
            self.found.push(finding.fix("run the mirror on the machine that has the disk"));
        }
    }

    fn target(&mut self) {
        const KEYS: &[&str] = &["target", "host", "targetdir"];
        let job = match Job::new(self.config) {
            Ok(job) => job,
            Err(refusal) => {
                let finding = self.about(KEYS, refusal.text).fix(refusal.remedy);
                return self.found.push(finding.fatal());
            }
        };
        if let Some(target) = job.local_target() {
            if let Err(refusal) = refuse_overlap(&self.config.source, target) {
                let text = format!("{}: the mirror does not start", refusal.text);
                let finding = self.about(KEYS, text).fix(refusal.remedy);
                self.found.push(finding.fatal());
            }
            self.local_target(target);
        }
        if let Ok(Location::Daemon { host, .. } | Location::Shell { host, .. }) = self.location()
            && facts::is_this_machine(&host)
        {
            let text = format!("{} is this machine itself, not another one", shown(&host));
            let finding = self.about(KEYS, text).fix("write the address of the target");
            self.found.push(finding);
        }
    }

    fn location(&self) -> Result<Location, ()> {
        location::parse(&self.config.target, &self.config.options).map_err(drop)
    }

    fn local_target(&mut self, target: &[u8]) {
        const KEYS: &[&str] = &["target"];
        let trimmed = target.strip_suffix(b"/").unwrap_or(target);
        let above = trimmed.iter().rposition(|&b| b == b'/').map(|at| target.split_at(at.max(1)).0);
        if let Some(above) = above.filter(|above| facts::directory(above).is_err()) {
            let text = format!("{} is no directory: nothing can be sent", shown(above));
            let finding = self.about(KEYS, text).fix(format!("mkdir -p {}", shown(trimmed)));
            self.found.push(finding.fatal().with_repair(Repair::MakeDir(trimmed.to_vec())));
        }
        self.copied_below(trimmed);
        let (source, config) = (&self.config.source, self.config);
        let is_empty = facts::directory(source).is_ok() && !facts::is_filled(source);
        if config.delete && !config.allow_empty && is_empty && facts::is_filled(target) {
            let text = "is empty while the target is not: the mirror stops rather than delete all";
            let finding = self.about(&["source"], text);
            self.found.push(finding.fix("mount the disk, or set allow_empty = true").fatal());
        }
    }

    /// `rsync SOURCE TARGET` without a slash makes TARGET/SOURCE; the mirror writes beside it.
    fn copied_below(&mut self, target: &[u8]) {
        let source = facts::resolved(&self.config.source);
        let Some(name) = source.file_name().map(|name| name.as_encoded_bytes()) else { return };
        let below = [target, b"/", name].concat();
        let own = [self.config.source.as_slice(), b"/", name].concat();
        if facts::directory(&below).is_ok() && facts::directory(&own).is_err() {
            let shown = shown(name);
            let text = format!(
                "has a directory {shown}, and the source has none inside: was it copied there \
                 without a slash at its end? Its content goes into the target itself"
            );
            let fix = format!("move what is in {shown} up by one, or add /{shown} to the target");
            let finding = self.about(&["target"], text);
            self.found.push(finding.fix(fix));
        }
    }

    fn password(&mut self) {
        const KEYS: &[&str] =
            &["password_file", "rsync.password_file", "passwordfile", "rsync._extra", "options"];
        let Some(file) = &self.config.options.password_file else { return };
        let shown = shown(file);
        let Ok(Location::Daemon { user, .. }) = self.location() else {
            let text = "the target is no rsync daemon, where alone a password file counts";
            let finding = self.about(KEYS, text).fix("write host::module, or remove it");
            return self.found.push(finding.fatal());
        };
        let facts = facts::read(file).and_then(|c| Ok((c, facts::mode_and_owner(file)?)));
        let finding = match facts {
            Err(error) => {
                let text = format!("cannot be read: {error}: no login works");
                self.about(KEYS, text).fix("make it: the password alone, mode 600").fatal()
            }
            Ok((_, (mode, _))) if mode & 0o006 != 0 => {
                let text = format!("has mode {mode:o} and is refused: no login works");
                let finding = self.about(KEYS, text).fix(format!("chmod 600 {shown}")).fatal();
                finding.with_repair(Repair::OwnerOnly(file.clone()))
            }
            Ok((_, (_, owner))) if tree::owner::am_root() && owner != 0 => {
                let text = format!("belongs to user {owner} and is refused: no login works");
                self.about(KEYS, text).fix(format!("chown root {shown}")).fatal()
            }
            Ok((content, _)) => {
                let line = content.split(|b| b"\r\n".contains(b)).next().unwrap_or_default();
                let named = user.is_some_and(|user| line.starts_with(&[&user, &b":"[..]].concat()));
                let (text, fix) = match line {
                    [] => ("is empty: no login works", "write the password into it"),
                    _ if named => (
                        "holds user:password, all of which is taken for the password",
                        "leave the password alone in it",
                    ),
                    [.., b' ' | b'\t'] => {
                        ("ends in a blank, which is part of the password", "remove the blank")
                    }
                    _ => return,
                };
                self.about(KEYS, text).fix(fix).fatal()
            }
        };
        self.found.push(finding);
    }

    /// A password in a command line is everybody's, and so is a key that all may read.
    fn shell(&mut self) {
        let Some(rsh) = &self.config.options.rsh else { return };
        let text = String::from_utf8_lossy(rsh);
        let words: Vec<&str> = text.split_whitespace().collect();
        let key = words.iter().position(|word| *word == "-i").and_then(|at| words.get(at + 1));
        if let Some(key) = key
            && let Ok((mode, _)) = facts::mode_and_owner(key.as_bytes())
            && mode & 0o077 != 0
        {
            let text = format!("{key} has mode {mode:o}: ssh passes over a key others may read");
            let finding = self
                .about(&["ssh.identityFile", "rsync.rsh", "rsh", "rsync._extra", "options"], text);
            let finding = finding.fix(format!("chmod 600 {key}")).fatal();
            self.found.push(finding.with_repair(Repair::OwnerOnly(key.as_bytes().to_vec())));
        }
        let given = words.iter().any(|word| word.ends_with("sshpass"))
            && words.iter().any(|word| word.starts_with("-p"));
        if given {
            let text = "everybody on this machine can read the password in the list of processes";
            let finding = self.about(&["rsync.rsh", "rsh", "rsync._extra", "options"], text);
            self.found.push(finding.fix("use a key, or sshpass -f FILE"));
        }
    }

    fn rules(&mut self) {
        const KEYS: &[&str] =
            &["exclude", "filter", "excludeFrom", "exclude_from", "rsync._extra", "options"];
        let (_, prefix) = self.config.base_and_prefix();
        let exclude = match Exclude::new(&self.config.options.filters, &prefix) {
            Ok(exclude) => exclude,
            Err(text) => {
                let finding = self.about(KEYS, text).fix("correct the rule");
                return self.found.push(finding.fatal());
            }
        };
        for pattern in self.config.options.filters.iter().filter_map(prefix_pattern) {
            let (_, prefix) = self.config.base_and_prefix();
            let one = Exclude::new(&[FilterArg::Exclude(pattern.to_vec())], &prefix);
            let size = one.map(|one| facts::size_up(&self.config.source, &one)).unwrap_or_default();
            let present = match size.hidden {
                0 => String::new(),
                n => format!(", now {n}, such as {}", shown(&size.example)),
            };
            let stem = shown(pattern.get(..pattern.len() - 1).unwrap_or_default());
            let text = format!("hides every name that begins with {stem}, anywhere{present}");
            let finding = self.about(KEYS, text);
            self.found.push(finding.fix(format!("anchor it: /{0}, or remove it", shown(pattern))));
        }
        self.amount(&exclude);
    }

    /// Whether a local target that is still empty has room for the source.
    fn room(&mut self, needed: u64) {
        let Ok(Location::Local(target)) = self.location() else { return };
        let Some(free) = facts::free_bytes(&target).filter(|_| !facts::is_filled(&target)) else {
            return;
        };
        if needed > free {
            let text = format!("has room for {}, the source holds {}", bytes(free), bytes(needed));
            let finding = self.about(&["target"], text);
            self.found.push(finding.fix("make room there").fatal());
        }
    }

    fn amount(&mut self, exclude: &Exclude) {
        let size = match facts::directory(&self.config.source) {
            Ok(()) => facts::size_up(&self.config.source, exclude),
            Err(_) => Default::default(),
        };
        self.room(size.bytes);
        let rate = self.config.options.bwlimit;
        let hours = size.bytes.checked_div(rate).unwrap_or(0) / 3600;
        let slow = (1..=SLOW_BYTES).contains(&rate) && !size.complete;
        if hours > 0 || slow {
            let speed = format!("{} a second", bytes(rate));
            let text = if hours > 0 {
                let time = seconds((size.bytes / rate.max(1)).saturating_mul(1000));
                format!("at {speed} the first {} take {time}", bytes(size.bytes))
            } else {
                let time = seconds((1_000_000_000 / rate.max(1)).saturating_mul(1000));
                format!("at {speed} each GB takes {time}")
            };
            let text = format!("{text}, and later changes wait behind them");
            let finding =
                self.about(&["bwlimit", "rsync.bwlimit", "rsync._extra", "options"], text);
            self.found.push(finding.fix("raise it, or remove it for the first copy"));
        }
        let by_directory = !tree::owner::am_root() || self.config.backend == BackendChoice::Inotify;
        if let Some(limit) = mounts::inotify_watches_max().filter(|_| by_directory)
            && size.dirs > limit
        {
            let text = format!("has {} directories, and {limit} can be watched", size.dirs);
            let fix = format!("sysctl fs.inotify.max_user_watches={}", size.dirs * 2);
            let finding = self.about(&["source"], text).fix(fix);
            self.found.push(finding.fatal());
        }
    }
}

/// A pattern that hides whatever begins with a word, wherever it is: seldom meant.
fn prefix_pattern(rule: &FilterArg) -> Option<&[u8]> {
    let FilterArg::Exclude(pattern) = rule else { return None };
    let stem = pattern.strip_suffix(b"*")?;
    let plain = stem.iter().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(b));
    (plain && !stem.is_empty()).then_some(pattern)
}

fn shown(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
}

/// Bytes a second below which a first copy takes long, where its size is not known.
const SLOW_BYTES: u64 = 1 << 20;
