//! What the README and docs/ promise, held against the program's own tables and readers.

// A rule that cannot be checked is a failure.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;
use std::path::Path;

use rsync::daemon::config;
use rsync::options::debug;

fn text(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)).unwrap()
}

/// The part of a document under a heading, up to the next one.
fn section<'a>(document: &'a str, heading: &str) -> &'a str {
    let start = document.find(heading).unwrap_or_else(|| panic!("no heading {heading}"));
    let rest = &document[start + heading.len()..];
    rest.split("\n## ").next().unwrap()
}

/// What stands between back-quotes at the beginning of table rows and list items.
fn named(section: &str) -> BTreeSet<String> {
    let entries = section.lines().filter(|line| line.starts_with("| `") || line.starts_with("- `"));
    entries.filter_map(|line| line.split('`').nth(1)).map(str::to_string).collect()
}

#[test]
fn refused_md_names_every_refused_level_of_debug_and_no_other() {
    let document = text("docs/refused.md");
    let written = named(section(&document, "## Options of"));
    let mut refused = BTreeSet::from(["--debug=ALL".to_owned()]);
    for flag in &debug::FLAGS {
        let level = if flag.most == 0 { String::new() } else { (flag.most + 1).to_string() };
        if flag.most == 0 || flag.help.contains("levels") {
            refused.insert(format!("--debug={}{level}", flag.name));
        }
    }
    assert_eq!(written, refused);
}

#[test]
fn refused_md_names_every_refused_key_of_lsyncd_and_no_other() {
    use mirror::config::lsyncd::keys::{KeySupport, SETTINGS, SYNC};
    let document = text("docs/refused.md");
    let written = named(section(&document, "## Keys of `lsyncd.conf`"));
    let refused = SETTINGS.iter().chain(SYNC).filter(|(_, s)| *s != KeySupport::Full);
    let refused: BTreeSet<String> = refused.map(|(name, _)| (*name).to_string()).collect();
    assert_eq!(written, refused);
}

#[test]
fn the_readmes_rsyncd_conf_is_one() {
    let readme = text("README.md");
    let command = readme.split("printf '%s\\n' ").nth(1).unwrap().split("' > ").next().unwrap();
    let lines: Vec<&str> = command.split('\'').skip(1).step_by(2).collect();
    assert!(lines.len() > 5, "the configuration was found");
    let content = lines.join("\n").into_bytes();
    let load = |path: &[u8], _: &str| Ok(vec![(path.to_vec(), content.clone())]);
    let config = config::parse(b"rsyncd.conf", &[], &load, &|_| None).unwrap();
    assert!(config.remarks.is_empty(), "{:?}", config.remarks);
    assert_eq!(config.sections.len(), 1);
}

#[test]
fn the_readmes_mirror_configuration_is_one() {
    let readme = text("README.md");
    let toml = readme.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let config = mirror::config::toml::parse(toml, "README.md");
    let errors: Vec<String> =
        config.as_ref().err().into_iter().flatten().map(ToString::to_string).collect();
    assert!(errors.is_empty(), "{errors:?}");
    assert_eq!(config.map(|config| config.syncs.len()).ok(), Some(1));
}

#[test]
fn each_key_of_lsyncd_is_compared_by_a_test_that_exists() {
    use mirror::config::lsyncd::keys::{
        KeySupport, RSYNC_SWITCHES, RSYNC_VALUES, SETTINGS, SSH, SYNC,
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut tests = BTreeSet::new();
    tests_below(&root.join("crates"), &mut tests);
    tests_below(&root.join("tests"), &mut tests);
    let document = text("docs/lsyncd.md");
    let mut written = BTreeSet::new();
    for line in document.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').collect();
        let [keys, named] = cells.as_slice() else { panic!("{line}") };
        let words = |cell: &str| -> Vec<String> {
            cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
        };
        for name in words(named) {
            assert!(tests.contains(&name), "{keys}: there is no test {name}");
        }
        assert!(!words(named).is_empty(), "{keys} have no test");
        for key in words(keys) {
            assert!(written.insert(key.clone()), "{key} stands there twice");
        }
    }
    let done = |keys: &[(&str, KeySupport)], place: &str| -> Vec<String> {
        let full = keys.iter().filter(|(_, support)| *support == KeySupport::Full);
        full.map(|(name, _)| format!("{place}.{name}")).collect()
    };
    let wanted: BTreeSet<String> =
        [done(SETTINGS, "settings"), done(SYNC, "sync")].concat().into_iter().collect();
    let absent: Vec<_> = wanted.difference(&written).collect();
    assert!(absent.is_empty(), "without a test: {absent:?}");
    let options = RSYNC_SWITCHES.iter().chain(RSYNC_VALUES).map(|(name, _)| *name);
    let options = options.chain(["archive", "binary", "_extra"]);
    let mut known: BTreeSet<String> = options.map(|name| format!("rsync.{name}")).collect();
    known.extend(done(SSH, "ssh"));
    for key in written.difference(&wanted) {
        assert!(known.contains(key), "{key} is no key");
    }
}

/// Every test function of the sources, by name.
fn tests_below(dir: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            tests_below(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            let source = std::fs::read_to_string(&path).unwrap();
            let mut lines = source.lines().map(str::trim);
            while let Some(line) = lines.next() {
                if line != "#[test]" {
                    continue;
                }
                let function = lines.find_map(|line| line.strip_prefix("fn ")).unwrap();
                found.insert(function.split('(').next().unwrap().to_string());
            }
        }
    }
}

#[test]
fn the_table_of_vulnerabilities_names_files_and_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut tests = BTreeSet::new();
    tests_below(&root.join("crates"), &mut tests);
    tests_below(&root.join("tests"), &mut tests);
    let document = text("docs/vulnerabilities.md");
    let rows: Vec<Vec<&str>> = document
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| Class"))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    assert!(rows.len() > 30, "the table was read");
    for row in rows {
        let [class, _, file, named] = row.as_slice() else { panic!("{row:?}") };
        assert!(root.join(file.trim_matches('`')).is_file(), "{class}: {file}");
        let named: Vec<&str> = named.split('`').skip(1).step_by(2).collect();
        assert!(!named.is_empty(), "{class} has no test");
        for name in named {
            assert!(tests.contains(name), "{class}: there is no test {name}");
        }
    }
}
