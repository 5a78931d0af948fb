//! The grammar of `rsyncd.conf`, case by case as the real program was seen to read it.

use super::*;

fn load(path: &[u8], suffix: &str) -> io::Result<Vec<Loaded>> {
    let file = |path: &str, text: &str| (path.as_bytes().to_vec(), text.as_bytes().to_vec());
    match (path, suffix) {
        (b"dir", ".conf") => Ok(vec![
            file("dir/a.conf", "comment = from a\nmotd file = m\n[ia]\ncomment = q\n"),
            file("dir/b.conf", "[ib]\n"),
        ]),
        (b"dir", ".inc") => Ok(vec![file("dir/a.inc", "list = no\n")]),
        (b"self", _) => Ok(vec![file("self", "&include self\n")]),
        _ => Err(io::Error::from_raw_os_error(libc::ENOENT)),
    }
}

fn read_with(text: &str, overrides: &[&str]) -> Result<DaemonConfig, DaemonConfigError> {
    let overrides: Vec<Vec<u8>> = overrides.iter().map(|word| word.as_bytes().to_vec()).collect();
    let loader = |path: &[u8], suffix: &str| match path {
        b"conf" => Ok(vec![(b"conf".to_vec(), text.as_bytes().to_vec())]),
        _ => load(path, suffix),
    };
    let environment = |name: &[u8]| (name == b"N").then(|| b"7".to_vec());
    parse(b"conf", &overrides, &loader, &environment)
}

fn read(text: &str) -> DaemonConfig {
    read_with(text, &[]).unwrap()
}

fn remarks(text: &str) -> Vec<String> {
    read(text).remarks.iter().map(ToString::to_string).collect()
}

fn fails(text: &str) -> String {
    read_with(text, &[]).unwrap_err().to_string()
}

fn comments(text: &str) -> Vec<(String, String)> {
    let of = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let config = read(text);
    let sections = config.sections.iter();
    sections.map(|s| (of(s.name(&|_| None)), of(s.values.text(Param::Comment)))).collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect()
}

#[test]
fn sections_continue_and_take_the_defaults_in_force() {
    let text = "[a]\ncomment=x\n[B b]\n[A]\ncomment=z\n[bB]\ncomment=q\n";
    assert_eq!(comments(text), pairs(&[("a", "z"), ("B b", "q")]));
    let text = "comment=1\n[a]\n[global]\ncomment=2\n[b]\n[a]\n";
    assert_eq!(comments(text), pairs(&[("a", "1"), ("b", "2")]));
    assert_eq!(comments("[a]\nname = shown\n"), pairs(&[("shown", "")]));
}

#[test]
fn include_restores_the_defaults_and_merge_does_not() {
    let text = "comment=glob\n[m1]\n&include dir\ncomment=after\n[m2]\n";
    let expected = [("m1", "glob"), ("ia", "q"), ("ib", "glob"), ("m2", "after")];
    assert_eq!(comments(text), pairs(&expected));
    assert_eq!(read(text).globals.text(Param::MotdFile), b"");
    let merged = read("[m1]\n&merge = dir\ncomment = x\n");
    assert!(!merged.sections[0].values.flag(Param::List));
    assert_eq!(merged.sections[0].values.text(Param::Comment), b"x");
}

#[test]
fn fatal_lines_name_file_and_line() {
    assert_eq!(fails("\n[]\n"), "conf:2: Empty section name in config file.");
    let text = "conf:1: invalid section name in configuration file: a/b";
    assert_eq!(fails("[a/b]"), text);
    assert_eq!(fails("= 4"), "conf:1: Invalid parameter name in config file.");
    assert_eq!(fails("&bogus x"), "conf:1: Unknown directive: &bogus.");
    let text = "conf:1: unable to stat config file \"none\": No such file or directory (2)";
    assert_eq!(fails("&include none"), text);
    assert!(fails("&merge self").contains("16 levels deep"));
    assert!(fails("[a").starts_with("conf:1: Badly formed line"));
}

#[test]
fn remarks_name_file_line_and_a_way_out() {
    assert_eq!(remarks("&include").len(), 1);
    let text = "conf:2: ignore errors: Ignoring badly formed line in config file; write \"ignore \
                errors = yes\"";
    assert_eq!(remarks("\nignore errors\n"), [text]);
    let text = "conf:1: gnore errors: IGNORING unknown parameter; did you mean \"ignore errors\"?";
    assert_eq!(remarks("gnore errors = yes"), [text]);
    let text = "conf:2: port: Global parameter port found in module section!; move it before the \
                first [module]";
    assert_eq!(remarks("[a]\nport = 4"), [text]);
    let found = remarks("read only = no # writable");
    assert!(found[0].ends_with("put it on a line of its own"), "{found:?}");
    assert!(read("read only = no # writable").globals.flag(Param::ReadOnly));
}

#[test]
fn numbers_expand_variables_while_reading() {
    assert_eq!(read("timeout = %N%").globals.int(Param::Timeout), 7);
    assert_eq!(read("comment = %N%").globals.text(Param::Comment), b"%N%");
}

#[test]
fn overrides_count_as_the_end_of_the_first_global_part() {
    let config = read_with("comment=1\n[a]\n[b]\ncomment=3\n", &["com ment = 2"]).unwrap();
    assert_eq!(config.sections[0].values.text(Param::Comment), b"2");
    assert_eq!(config.sections[1].values.text(Param::Comment), b"3");
    let error = read_with("", &["nonsense=1"]).unwrap_err();
    assert_eq!(error.to_string(), "--dparam: Unknown parameter \"nonsense\"");
    assert_eq!(error.exit_code(), ExitCode::Syntax);
    let error = read_with("", &["port"]).unwrap_err();
    assert_eq!(error.to_string(), "--dparam: --dparam value is missing an '=': port");
}

#[test]
fn what_is_not_implemented_is_refused_by_name() {
    let error = read_with("[a]\n\nhosts allow = 1.2.3.4, @group\n", &[]).unwrap_err();
    assert!(error.to_string().starts_with("conf:3: \"@NETGROUP in a list of hosts\" is not"));
    assert_eq!(error.exit_code(), ExitCode::Unsupported);
    assert!(read_with("[a]\nfake super = no\nopen noatime = unset\n", &[]).is_ok());
}

#[test]
fn the_articles_file_reads_as_written() {
    let article = include_str!("../../tests/data/article_rsyncd.conf");
    let config = read(article);
    assert_eq!(config.sections.len(), 2);
    assert_eq!(config.sections[0].header, b"rsync_test0");
    assert_eq!(config.remarks.len(), 2, "the two lines \"ignore errors\"");
    assert_eq!(config.globals.int(Param::MaxConnections), 200);
    assert_eq!(config.sections[1].values.text(Param::HostsAllow), b"192.168.0.0/16");
    assert!(!config.sections[0].values.flag(Param::ReadOnly));
}
