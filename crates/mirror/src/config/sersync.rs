//! sersync's `confxml.xml`: each remote of the watched directory becomes a sync.
//!
//! Called by `livemirror sersync` and `run`, and by `check`. As in sersync, only the literal `true`
//! switches something on, and only the first `localpath` counts; what it ignores in silence is a
//! remark here, what makes it crash is a mistake with its line. What is right and not done here is
//! refused by name. The retry of failures, for which sersync writes a script, is the mirror's own.

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
    let name = path.display().to_string();
    let content =
        super::file::read(path).map_err(|e| vec![ConfigError::new(&name, 0, e.to_string())])?;
    parse(&content, &name)
}

/// Understands the content of a file.
pub fn parse(content: &[u8], file: &str) -> Result<ForeignConfig, Vec<ConfigError>> {
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
    let (syncs, origins) = reader.syncs();
    let mut config = Config::new(syncs);
    config.name = mirror_name(file);
    if reader.errors.is_empty()
        && let Err(text) = config.check()
    {
        reader.errors.push(ConfigError::new(file, 0, text));
    }
    let Reader { errors, remarks, words, .. } = reader;
    let words = vec![words; config.syncs.len()];
    let process = ProcessSettings::default();
    match errors.is_empty() {
        true => Ok(ForeignConfig { config, origins, words, process, remarks, lines: Vec::new() }),
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
                // What is in a plugin counts only when it is started, which is refused.
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
        let every_ms = self.crontab();
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
                    let text = format!(
                        "the regular expression \"{expression}\" is not done here: only a text of \
                         letters, [...], (a|b) and x? with (.*) before, behind or around it is, and \
                         ^NAME/*; write --exclude=PATTERN into commonParams"
                    );
                    self.refused(node, text);
                }
            }
        }
        rules
    }

    /// Milliseconds between the timed comparisons; 0 for none.
    fn crontab(&mut self) -> u64 {
        const PATH: &str = "sersync/crontab";
        let Some(node) = self.element(PATH).filter(|_| self.on(PATH, false)) else { return 0 };
        let filter = "sersync/crontab/crontabfilter";
        if let Some(node) = self.element(filter).filter(|_| self.on(filter, false)) {
            let text = "<crontabfilter> is not done here: a comparison has the rules of the mirror";
            self.refused(node, text.into());
        }
        self.number(node, "schedule", MINUTES_MAX).unwrap_or(0) * 60_000
    }

    /// Refuses what changes which events count, and plugins.
    fn refuse_switched(&mut self) {
        for name in ["createFolder", "closeWrite", "moveFrom", "moveTo"] {
            let path = format!("inotify/{name}");
            if let Some(node) = self.element(&path).filter(|_| !self.on(&path, true)) {
                let text = format!("<{name} start=\"false\"> is not done here: the change is sent");
                self.refused(node, text);
            }
        }
        let path = "sersync/plugin";
        if let Some(node) = self.element(path).filter(|_| self.on(path, false)) {
            self.refused(node, "<plugin start=\"true\"> is not done here".into());
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
mod tests {
    use super::*;

    const STOCK: &str = include_str!("../../tests/data/confxml.xml");

    fn errors(text: &str) -> Vec<String> {
        parse(text.as_bytes(), "c.xml").unwrap_err().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_stock_file_and_what_tutorials_change_in_it() {
        // A failure would shut the door before those who have such a file.
        let loaded = parse(STOCK.as_bytes(), "c.xml").unwrap();
        assert!(loaded.remarks.is_empty(), "{:?}", loaded.remarks);
        let sync = &loaded.config.syncs[0];
        assert_eq!(
            (sync.source.as_slice(), sync.target.as_slice()),
            (&b"/opt/tongbu"[..], &b"127.0.0.1::tongbu1"[..])
        );
        assert!(sync.delete && sync.options.compress && sync.options.perms && sync.options.update);
        let edited = STOCK
            .replace("<auth start=\"false\"", "<auth start=\"true\"")
            .replace("<userDefinedPort start=\"false\"", "<userDefinedPort start=\"true\"")
            .replace("<timeout start=\"false\"", "<timeout start=\"true\"")
            .replace("<delete start=\"true\"", "<delete start=\"false\"")
            .replace("<filter start=\"false\"", "<filter start=\"true\"")
            .replace("<crontab start=\"false\"", "<crontab start=\"true\"")
            .replace("^info/*", "^(.*)~$")
            .replace("^static/*", ".*\\.swp")
            .replace("(.*)~$", "(.*)_x$")
            .replace(
                "<remote ip=\"127.0.0.1\" name=\"tongbu1\"/>",
                "<remote ip=\"a\" name=\"m\"/><remote ip=\"b\" name=\"m\"/>",
            );
        let loaded = parse(edited.as_bytes(), "c.xml").unwrap();
        let syncs = &loaded.config.syncs;
        assert_eq!(syncs.len(), 2);
        assert_eq!(syncs[1].target, b"root@b::m");
        let options = &syncs[1].options;
        assert_eq!((options.port, options.timeout_s), (Some(874), 100));
        assert_eq!(options.password_file.as_deref(), Some(&b"/etc/rsync.pas"[..]));
        assert!(!syncs[1].delete);
        assert_eq!(syncs[1].compare_every_ms, 600 * 60_000);
        assert_eq!(options.filters.len(), 4);
        assert_eq!(options.filters[0], FilterArg::Exclude(b"*.svn".to_vec()));
        let ssh = STOCK.replace("<ssh start=\"false\"", "<ssh start=\"true\"");
        let loaded = parse(ssh.as_bytes(), "c.xml").unwrap();
        assert_eq!(loaded.config.syncs[0].target, b"127.0.0.1:tongbu1");
    }

    #[test]
    fn what_crashes_or_is_passed_over_there_has_its_line() {
        // A failure would leave people with a silent file, or without a place.
        assert!(errors("<head>\n<a>\n</head>")[0].starts_with("c.xml:3:"));
        assert_eq!(
            errors("<head>\n</head>"),
            ["c.xml:1:1: there is no <sersync><localpath watch=...>: nothing to watch"]
        );
        let no_ip = STOCK.replace("ip=\"127.0.0.1\" name", "name");
        assert_eq!(errors(&no_ip), ["c.xml:25:5: <remote> has no ip"]);
        let odd = STOCK
            .replace("<debug start=\"false\"/>", "<debug start=\"yes\"/><closeWrit/>")
            .replace("<createFile", "<createFil")
            .replace("</sersync>", "<localpath watch=\"/x\"/></sersync>");
        let remarks: Vec<String> = parse(odd.as_bytes(), "c.xml")
            .unwrap_or_else(|_| unreachable!())
            .remarks
            .iter()
            .map(ToString::to_string)
            .collect();
        assert!(remarks.iter().any(|r| r.starts_with("c.xml:4: <debug start=\"yes\">: only true")));
        assert!(remarks.iter().any(|r| r.ends_with("did you mean createFile?")), "{remarks:?}");
        assert!(remarks.iter().any(|r| r.contains("only the first <localpath>")), "{remarks:?}");
    }

    #[test]
    fn what_is_not_done_is_refused_by_name() {
        // A failure would leave out in silence what somebody relies on.
        for (from, to, want) in [
            ("<plugin start=\"false\"", "<plugin start=\"true\"", "<plugin start=\"true\"> is not"),
            (
                "<moveTo start=\"true\"",
                "<moveTo start=\"false\"",
                "<moveTo start=\"false\"> is not",
            ),
            (
                "<filter start=\"false\">",
                "<filter start=\"true\"><exclude expression=\"[ab]+x\"/>",
                "the regular expression \"[ab]+x\"",
            ),
            ("-artuz", "-artuz --debug=hash", "commonParams: livemirror: --debug=HASH"),
        ] {
            let errors = parse(STOCK.replace(from, to).as_bytes(), "c.xml").unwrap_err();
            assert!(errors[0].refused && errors[0].text.starts_with(want), "{errors:?}");
        }
    }

    #[test]
    fn expressions_in_use_are_patterns() {
        // A failure would send what is to stay, or keep back what is to go.
        for (expression, want) in [
            ("(.*)\\.svn", Some("*.svn")),
            (".*\\.swp$", Some("*.swp")),
            ("(.*)~$", Some("*~")),
            ("^info/*", Some("/info")),
            ("^static/(.*)", Some("/static")),
            ("^static$", Some("/static")),
            ("(.*)cache(.*)", Some("*cache*")),
            ("^tmp(.*)$", Some("/tmp*")),
            ("info/*", None),
            ("(.*)", None),
            ("a|b", None),
            ("(.*).gz", None),
            ("(.*)[0-9]", Some("*[0-9]")),
            ("(.*)[^0-9]", None),
            ("(.*)[+-9]", None),
            ("(.*)[[:digit:]]", None),
            ("(.*)x+", None),
            ("(.*)[0-9", None),
            ("^(.*", None),
            ("(.*)x)", None),
            ("^a/b/*", None),
            ("(.*)a\\.*", None),
        ] {
            let want = want.map(|want| vec![want.to_owned()]);
            assert_eq!(patterns(expression), want, "{expression}");
        }
        for (expression, want) in [
            ("(.*)\\.(gz|bz2)$", &["*.gz", "*.bz2"][..]),
            ("^(static|info)/*", &["/static", "/info"]),
            ("^logs?(.*)", &["/logs*", "/log*"]),
            ("(.*)\\.sw[px]|(.*)~", &["*.sw[px]", "*~"]),
            ("(.*)\\.(part|t(e?mp|xt))", &["*.part", "*.temp", "*.tmp", "*.txt"]),
            ("(.*)\\.(bak)?", &["*.bak", "*."]),
        ] {
            let want: Vec<String> = want.iter().map(|&text| text.to_owned()).collect();
            assert_eq!(patterns(expression), Some(want), "{expression}");
        }
        assert_eq!(patterns(&"(a|b)".repeat(40)), None, "too many");
    }

    #[test]
    fn a_path_keeps_its_bytes_in_any_encoding() {
        // A failure would watch another directory than the one that is there.
        let latin: Vec<u8> =
            STOCK.replace("/opt/tongbu", "/opt/\u{e9}").chars().map(|c| c as u8).collect();
        let loaded = parse(&latin, "c.xml").unwrap();
        assert_eq!(loaded.config.syncs[0].source, b"/opt/\xe9");
        let utf8 = STOCK.replace("/opt/tongbu", "/opt/\u{e9}");
        let loaded = parse(utf8.as_bytes(), "c.xml").unwrap();
        assert_eq!(loaded.config.syncs[0].source, "/opt/\u{e9}".as_bytes());
    }
}
