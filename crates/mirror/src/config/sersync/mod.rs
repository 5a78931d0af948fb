//! sersync's `confxml.xml`: each remote of the watched directory becomes a sync.
//!
//! Called by `livemirror sersync` and `run`, and by `check`. As in sersync, only the literal `true`
//! switches something on, and only the first `localpath` counts; what it ignores in silence is a
//! remark here, what makes it crash is a mistake with its line. What is right and not done here is
//! refused by name. The retry of failures, for which sersync writes a script, is the mirror's own.

mod plugins;

use std::path::Path;

use roxmltree::{Document, Node};
use rsync::options::{FilterArg, Options};
use wire::exit::ExitCode;

use super::foreign::{ForeignConfig, ProcessSettings, mirror_name};
use super::options::from_options;
use super::origin::SyncOrigin;
use super::toml::{ConfigError, nearest};
use super::{Config, SyncConfig, regex};

/// Reads a file. Errors: all that was found.
pub fn load(path: &Path) -> Result<ForeignConfig, Vec<ConfigError>> {
    read(path, None)
}

/// Reads a file of which only one plugin counts, which tells and nothing is sent. Errors: all that
/// was found.
pub fn load_plugin(path: &Path, plugin: &str) -> Result<ForeignConfig, Vec<ConfigError>> {
    read(path, Some(plugin))
}

fn read(path: &Path, plugin: Option<&str>) -> Result<ForeignConfig, Vec<ConfigError>> {
    let name = path.display().to_string();
    let content =
        super::file::read(path).map_err(|e| vec![ConfigError::new(&name, 0, e.to_string())])?;
    understand(&content, &name, plugin)
}

/// Understands the content of a file.
pub fn parse(content: &[u8], file: &str) -> Result<ForeignConfig, Vec<ConfigError>> {
    understand(content, file, None)
}

fn understand(
    content: &[u8],
    file: &str,
    plugin: Option<&str>,
) -> Result<ForeignConfig, Vec<ConfigError>> {
    // Such files say ISO-8859-1 and are often something else. One byte a letter keeps paths as they
    // are, whatever the encoding.
    let utf8 = std::str::from_utf8(content).ok();
    let text = utf8.map_or_else(|| content.iter().map(|&b| char::from(b)).collect(), str::to_owned);
    let document = Document::parse(&text).map_err(|error| {
        let (line, column) = (error.pos().row as usize, error.pos().col as usize);
        vec![ConfigError { column, ..ConfigError::new(file, line, error.to_string()) }]
    })?;
    let mut reader = Reader {
        file,
        document: &document,
        one_byte: utf8.is_none(),
        errors: Vec::new(),
        remarks: Vec::new(),
        words: Vec::new(),
    };
    reader.unknown();
    let (syncs, origins) = match plugin {
        Some(name) => (reader.plugin_alone(name), Vec::new()),
        None => reader.syncs(),
    };
    let mut config = Config::new(syncs);
    config.name = mirror_name(file);
    config.trace.inotify = reader.on("debug", false);
    if reader.errors.is_empty()
        && let Err(text) = config.check()
    {
        reader.errors.push(ConfigError::new(file, 0, text));
    }
    let lines = reader.sent_anyway();
    let Reader { errors, remarks, words, .. } = reader;
    let words = vec![words; config.syncs.len()];
    let process = ProcessSettings::default();
    match errors.is_empty() {
        true => Ok(ForeignConfig { config, origins, words, process, remarks, lines }),
        false => Err(errors),
    }
}

/// The elements, by their path below `head`, and whether one is a switch (`start`).
const ELEMENTS: &[(&str, bool)] = &[
    ("host", false),
    ("debug", true),
    ("fileSystem", false),
    ("filter", true),
    ("filter/exclude", false),
    ("inotify", false),
    ("inotify/delete", true),
    ("inotify/createFolder", true),
    ("inotify/createFile", true),
    ("inotify/closeWrite", true),
    ("inotify/moveFrom", true),
    ("inotify/moveTo", true),
    ("inotify/attrib", true),
    ("inotify/modify", true),
    ("sersync", false),
    ("sersync/localpath", false),
    ("sersync/localpath/remote", false),
    ("sersync/rsync", false),
    ("sersync/rsync/commonParams", false),
    ("sersync/rsync/auth", true),
    ("sersync/rsync/userDefinedPort", true),
    ("sersync/rsync/timeout", true),
    ("sersync/rsync/ssh", true),
    ("sersync/failLog", false),
    ("sersync/crontab", true),
    ("sersync/crontab/crontabfilter", true),
    ("sersync/crontab/crontabfilter/exclude", false),
    ("sersync/plugin", true),
    ("plugin", false),
];

struct Reader<'a> {
    file: &'a str,
    document: &'a Document<'a>,
    /// Each letter of the text stands for one byte of the file.
    one_byte: bool,
    errors: Vec<ConfigError>,
    remarks: Vec<ConfigError>,
    /// What the options were said in.
    words: Vec<Vec<u8>>,
}

impl<'a> Reader<'a> {
    /// The first element at a path below the top.
    fn element(&self, path: &str) -> Option<Node<'a, 'a>> {
        path.split('/').try_fold(self.document.root_element(), |node, name| {
            node.children().find(|child| child.has_tag_name(name))
        })
    }

    fn line(&self, node: Node<'_, '_>) -> usize {
        self.document.text_pos_at(node.range().start).row as usize
    }

    fn wrong(&mut self, node: Node<'_, '_>, text: String) {
        let at = self.document.text_pos_at(node.range().start);
        let (line, column) = (at.row as usize, at.col as usize);
        self.errors.push(ConfigError { column, ..ConfigError::new(self.file, line, text) });
    }

    fn refused(&mut self, node: Node<'_, '_>, text: String) {
        self.wrong(node, text);
        if let Some(last) = self.errors.last_mut() {
            last.refused = true;
        }
    }

    fn remark(&mut self, node: Node<'_, '_>, text: String) {
        let line = self.line(node);
        self.remarks.push(ConfigError::new(self.file, line, text));
    }

    /// Tells what sersync would pass over in silence.
    fn unknown(&mut self) {
        let top = self.document.root_element();
        let mut todo = vec![(top, String::new())];
        while let Some((node, path)) = todo.pop() {
            for child in node.children().filter(Node::is_element) {
                let name = child.tag_name().name();
                let slash = if path.is_empty() { "" } else { "/" };
                let inner = format!("{path}{slash}{name}");
                let Some((_, switch)) = ELEMENTS.iter().find(|(known, _)| *known == inner) else {
                    let names: Vec<&str> = ELEMENTS
                        .iter()
                        .filter_map(|(known, _)| known.strip_prefix(&format!("{path}{slash}")))
                        .filter(|known| !known.contains('/'))
                        .collect();
                    let near = nearest(name, &names).map(|near| format!("; did you mean {near}?"));
                    let near = near.unwrap_or_default();
                    self.remark(child, format!("<{name}> is not known here, no effect{near}"));
                    continue;
                };
                let start = child.attribute("start");
                match start {
                    Some("true" | "false") => {}
                    Some(other) if *switch => self.remark(
                        child,
                        format!("<{name} start=\"{other}\">: only true switches on, this is off"),
                    ),
                    _ => {}
                }
                // What is in a plugin counts only when it is started, and is read then.
                if inner != "plugin" {
                    todo.push((child, inner));
                }
            }
        }
    }

    /// Whether a switch is on; `usual` where the element is missing.
    fn on(&self, path: &str, usual: bool) -> bool {
        let start = self.element(path).map(|node| node.attribute("start"));
        start.map_or(usual, |start| start == Some("true"))
    }

    fn bytes(&self, text: &str) -> Vec<u8> {
        match self.one_byte {
            true => text.chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?')).collect(),
            false => text.as_bytes().to_vec(),
        }
    }

    /// An attribute that must be there and not be empty.
    fn attribute(&mut self, node: Node<'a, 'a>, name: &str) -> Option<Vec<u8>> {
        match node.attribute(name).filter(|text| !text.is_empty()) {
            Some(text) => Some(self.bytes(text)),
            None => {
                self.wrong(node, format!("<{}> has no {name}", node.tag_name().name()));
                None
            }
        }
    }

    fn number(&mut self, node: Node<'a, 'a>, name: &str, max: u64) -> Option<u64> {
        let text = self.attribute(node, name)?;
        let text = String::from_utf8_lossy(&text).into_owned();
        let number = text.trim().parse::<u64>().ok().filter(|n| (1..=max).contains(n));
        if number.is_none() {
            self.wrong(node, format!("{name}=\"{text}\" must be a number from 1 to {max}"));
        }
        number
    }

    fn syncs(&mut self) -> (Vec<SyncConfig>, Vec<SyncOrigin>) {
        let (mut syncs, mut origins) = (Vec::new(), Vec::new());
        let top = self.document.root_element();
        let Some(local) = self.element("sersync/localpath") else {
            self.wrong(top, "there is no <sersync><localpath watch=...>: nothing to watch".into());
            return (syncs, origins);
        };
        let siblings = local.next_siblings().skip(1);
        for other in siblings.filter(|node| node.has_tag_name("localpath")).collect::<Vec<_>>() {
            self.remark(other, "only the first <localpath> is watched, this one is not".into());
        }
        let Some(source) = self.attribute(local, "watch") else { return (syncs, origins) };
        let options = self.options();
        let filters = self.filters();
        let (every_ms, timed_filters) = self.crontab();
        let plugin = self.plugin();
        self.refuse_switched();
        let remotes: Vec<_> = local.children().filter(|n| n.has_tag_name("remote")).collect();
        if remotes.is_empty() {
            self.wrong(local, "<localpath> has no <remote ip=... name=...>: no target".into());
        }
        for remote in remotes {
            let (ip, name) = (self.attribute(remote, "ip"), self.attribute(remote, "name"));
            let (Some(ip), Some(name)) = (ip, name) else { continue };
            let made = SyncConfig::new(&source, b"");
            let mut sync = SyncConfig { source: made.source.clone(), contents: true, ..made };
            sync.name =
                String::from_utf8_lossy(&[ip.as_slice(), b"/", &name].concat()).into_owned();
            sync.target = self.target(&ip, &name);
            let timeout_s = match options.timeout_s {
                0 => sync.options.timeout_s,
                given => given,
            };
            sync.options = Options { timeout_s, ..options.clone() };
            sync.options.filters.extend(filters.iter().cloned());
            sync.delete = self.on("inotify/delete", true);
            sync.compare_every_ms = every_ms;
            sync.timed_filters = timed_filters.clone();
            // Several targets are one event to a plugin.
            sync.plugin = plugin.clone().filter(|_| syncs.is_empty());
            origins.push(self.origin(local, remote));
            syncs.push(sync);
        }
        (syncs, origins)
    }

    /// `[user@]ip::module`, or `ip:path` with ssh.
    fn target(&mut self, ip: &[u8], name: &[u8]) -> Vec<u8> {
        if self.on("sersync/rsync/ssh", false) {
            return [ip, b":", name].concat();
        }
        let auth = self.element("sersync/rsync/auth");
        let user = match auth.filter(|_| self.on("sersync/rsync/auth", false)) {
            Some(auth) => self.attribute(auth, "users"),
            None => None,
        };
        let user = user.map_or_else(Vec::new, |user| [user.as_slice(), b"@"].concat());
        [user.as_slice(), ip, b"::", name].concat()
    }

    fn origin(&self, local: Node<'_, '_>, remote: Node<'_, '_>) -> SyncOrigin {
        let mut origin = SyncOrigin::new(self.file, self.line(remote));
        origin.add("source", self.line(local), local.attribute("watch").unwrap_or_default());
        let name = remote.attribute("name").unwrap_or_default();
        let ip = remote.attribute("ip").unwrap_or_default();
        origin.add("target", self.line(remote), &format!("{ip} {name}"));
        if let Some(auth) = self.element("sersync/rsync/auth") {
            let file = auth.attribute("passwordfile").unwrap_or_default();
            origin.add("passwordfile", self.line(auth), file);
        }
        origin
    }

    fn options(&mut self) -> Options {
        let params = self.element("sersync/rsync/commonParams");
        let text = params.and_then(|node| node.attribute("params")).unwrap_or("-artuz");
        let mut words: Vec<Vec<u8>> =
            text.split_whitespace().map(|word| self.bytes(word)).collect();
        let ssh = self.on("sersync/rsync/ssh", false);
        let started = |path: &str| self.element(path).filter(|_| self.on(path, false));
        let (auth, port, timeout) = (
            started("sersync/rsync/auth").filter(|_| !ssh),
            started("sersync/rsync/userDefinedPort").filter(|_| !ssh),
            started("sersync/rsync/timeout"),
        );
        let mut add = |name: &str, value: &[u8]| {
            words.push([name.as_bytes(), b"=", value].concat());
        };
        if let Some(file) = auth.and_then(|node| self.attribute(node, "passwordfile")) {
            add("--password-file", &file);
        }
        if let Some(port) = port.and_then(|node| self.number(node, "port", 65_535)) {
            add("--port", port.to_string().as_bytes());
        }
        if let Some(time) = timeout.and_then(|node| self.number(node, "time", 1 << 30)) {
            add("--timeout", time.to_string().as_bytes());
        }
        let node = params.unwrap_or_else(|| self.document.root_element());
        self.words = words;
        match from_options(&self.words) {
            Ok((options, stray)) => {
                for word in stray {
                    let word = String::from_utf8_lossy(&word).into_owned();
                    self.wrong(node, format!("commonParams: \"{word}\" is no option"));
                }
                options
            }
            Err(bad) => {
                let first = bad.text.lines().next().unwrap_or_default().to_owned();
                let text = format!("commonParams: {first}");
                match bad.exit {
                    ExitCode::Unsupported => self.refused(node, text),
                    _ => self.wrong(node, text),
                }
                Options::default()
            }
        }
    }

    /// The regular expressions of `filter` that are the same as a pattern; others are refused.
    fn filters(&mut self) -> Vec<FilterArg> {
        let Some(filter) = self.element("filter").filter(|_| self.on("filter", false)) else {
            return Vec::new();
        };
        let mut rules = Vec::new();
        for node in filter.children().filter(|n| n.has_tag_name("exclude")).collect::<Vec<_>>() {
            let Some(expression) = node.attribute("expression") else { continue };
            match patterns(expression) {
                Some(patterns) => {
                    let rule = |pattern: &String| FilterArg::Exclude(self.bytes(pattern));
                    rules.extend(patterns.iter().map(rule));
                }
                None => {
                    let instead = "; write --exclude=PATTERN into commonParams";
                    self.refuse_expression(node, expression, instead);
                }
            }
        }
        rules
    }

    fn refuse_expression(&mut self, node: Node<'_, '_>, expression: &str, instead: &str) {
        let text = format!(
            "the regular expression \"{expression}\" is not done here: only a text of letters, \
             [...], (a|b) and x? with (.*) before, behind or around it is, and ^NAME/*{instead}"
        );
        self.refused(node, text);
    }

    /// Milliseconds between the timed comparisons, 0 for none, and what they leave out beside the
    /// others: patterns of rsync, unlike those of `filter`.
    fn crontab(&mut self) -> (u64, Vec<FilterArg>) {
        const PATH: &str = "sersync/crontab";
        const FILTER: &str = "sersync/crontab/crontabfilter";
        let off = (0, Vec::new());
        let Some(node) = self.element(PATH).filter(|_| self.on(PATH, false)) else { return off };
        let filter = self.element(FILTER).filter(|_| self.on(FILTER, false));
        let excludes = filter.into_iter().flat_map(|filter| filter.children());
        let patterns = excludes.filter(|node| node.has_tag_name("exclude"));
        let patterns = patterns.filter_map(|node| node.attribute("expression"));
        let rules = patterns.map(|pattern| FilterArg::Exclude(self.bytes(pattern))).collect();
        (self.number(node, "schedule", MINUTES_MAX).unwrap_or(0) * 60_000, rules)
    }

    /// What is sent although its switch is off: a copy without it would not be one.
    fn sent_anyway(&self) -> Vec<(String, String)> {
        let told = [
            ("attrib", "changes of mode, owner and time are sent too"),
            ("modify", "a file that stays open is sent once nothing was written to it for a while"),
        ];
        let off = told.into_iter().filter(|(name, _)| !self.on(&format!("inotify/{name}"), false));
        off.map(|(name, text)| ("Normal".into(), format!("{name} is off: {text}"))).collect()
    }

    /// Refuses what changes which events count.
    fn refuse_switched(&mut self) {
        for name in ["createFolder", "closeWrite", "moveFrom", "moveTo"] {
            // Where nothing is deleted, the old name of a moved file is not either.
            if name == "moveFrom" && !self.on("inotify/delete", true) {
                continue;
            }
            let path = format!("inotify/{name}");
            if let Some(node) = self.element(&path).filter(|_| !self.on(&path, true)) {
                let text = format!("<{name} start=\"false\"> is not done here: the change is sent");
                self.refused(node, text);
            }
        }
    }
}

/// The patterns of rsync that together hide what an expression does.
fn patterns(expression: &str) -> Option<Vec<String>> {
    let mut texts = Vec::new();
    regex::expand(expression, &mut texts)?;
    texts.iter().map(|text| pattern(text)).collect()
}

/// The pattern of rsync that hides what an expression does, for the forms that are in use: a plain
/// text with `(.*)` before, behind or around it, and `^NAME/*`, a name at the top.
fn pattern(expression: &str) -> Option<String> {
    let inner = expression.strip_suffix('$').unwrap_or(expression);
    let top = inner.strip_prefix('^');
    let inner = top.unwrap_or(inner);
    let any = ["(.*)", ".*"];
    let (before, rest) = match any.iter().find_map(|any| inner.strip_prefix(any)) {
        Some(rest) => (true, rest),
        None => (false, inner),
    };
    // A star behind a slash is no name: any number of slashes.
    let (below, rest) = match ["/*", "/(.*)", "/.*"].iter().find_map(|end| rest.strip_suffix(end)) {
        Some(rest) if !before => (true, rest),
        _ => (false, rest),
    };
    let (behind, rest) = match any.iter().find_map(|any| rest.strip_suffix(any)) {
        // A dot that is quoted is one of the name.
        Some(rest) if !below && !rest.ends_with('\\') => (true, rest),
        _ => (false, rest),
    };
    let text = regex::plain(rest)?;
    match (before, behind) {
        (true, true) => Some(format!("*{text}*")),
        (true, false) => Some(format!("*{text}")),
        (false, true) => top.map(|_| format!("/{text}*")),
        (false, false) => top.map(|_| format!("/{text}")),
    }
}

/// The longest time between comparisons: a year.
const MINUTES_MAX: u64 = 525_600;

#[cfg(test)]
mod sersync_tests;
