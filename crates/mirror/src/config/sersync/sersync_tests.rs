//! Files of sersync and what they mean here.

use super::*;
use crate::config::plugin::{Plugin, PluginTo};

const STOCK: &str = include_str!("../../../tests/data/confxml.xml");

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
        (
            "<plugin start=\"false\" name=\"command\"",
            "<plugin start=\"true\" name=\"refreshCDN\"",
            "the plugin \"refreshCDN\"",
        ),
        ("<moveTo start=\"true\"", "<moveTo start=\"false\"", "<moveTo start=\"false\"> is not"),
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
fn plugins_and_what_timed_comparisons_leave_out() {
    // A failure would run a name, tell nobody, or compare what was to be left alone.
    let on = STOCK.replace("<plugin start=\"false\"", "<plugin start=\"true\"");
    let script = on.replace("prefix=\"/bin/sh\"", "prefix=\"/bin/sh /opt/x.sh\"");
    let script = script.replace("suffix=\"\"", "suffix=\"a b\"");
    let two = script.replace("<remote ip", "<remote ip=\"b\" name=\"m\"/><remote ip");
    let loaded = parse(two.as_bytes(), "c.xml").unwrap();
    assert!(loaded.remarks.is_empty(), "{:?}", loaded.remarks);
    let words = |words: &[&str]| words.iter().map(|w| w.as_bytes().to_vec()).collect::<Vec<_>>();
    let (before, after) = (words(&["/bin/sh", "/opt/x.sh"]), words(&["a", "b"]));
    let to = PluginTo::Command { before, after, ignore_error: true };
    let plugin = Plugin { to, only: Vec::new(), alone: false };
    assert_eq!(loaded.config.syncs[0].plugin, Some(plugin));
    assert_eq!(loaded.config.syncs[1].plugin, None, "a plugin is told once");
    let named = on.replace("<filter start=\"false\">\n      <inc", "<filter start=\"true\"><inc");
    let only = parse(named.as_bytes(), "c.xml").unwrap().config.syncs[0].plugin.clone().unwrap();
    assert_eq!(only.only, [FilterArg::Exclude(b"*.php".to_vec())]);
    let alone = understand(STOCK.as_bytes(), "c.xml", Some("socket")).unwrap().config.syncs;
    let told = alone[0].plugin.clone().unwrap();
    assert_eq!(told.to, PluginTo::Socket { host: "192.168.138.20".into(), port: 8009 });
    assert!(told.alone && alone[0].skip_first && alone[0].source == b"/opt/tongbu");
    for (from, to, want) in [
        ("prefix=\"/bin/sh\"", "prefix=\"cat | sh\"", "prefix=\"cat | sh\" needs a shell"),
        ("prefix=\"/bin/sh\"", "", "<param> has no prefix"),
        ("<plugin name=\"command\">", "<plugin name=\"other\">", "there is no <plugin name"),
        ("<param", "<parm", "<plugin> has no <param"),
    ] {
        let errors = parse(on.replace(from, to).as_bytes(), "c.xml").unwrap_err();
        assert!(errors[0].text.starts_with(want), "{errors:?}");
    }
    assert!(understand(STOCK.as_bytes(), "c.xml", Some("http")).unwrap_err()[0].refused);
    let timed = STOCK
        .replace("<crontab start=\"false\"", "<crontab start=\"true\"")
        .replace("<crontabfilter start=\"false\"", "<crontabfilter start=\"true\"");
    let sync = parse(timed.as_bytes(), "c.xml").unwrap().config.syncs.remove(0);
    assert_eq!(sync.timed_filters.len(), 2);
    assert_eq!(sync.timed_filters[1], FilterArg::Exclude(b"info/*".to_vec()));
    assert!(sync.options.filters.is_empty());
    let debug = STOCK.replace("<debug start=\"false\"", "<debug start=\"true\"");
    assert!(parse(debug.as_bytes(), "c.xml").unwrap().config.trace.inotify);
    let kept = STOCK
        .replace("<moveFrom start=\"true\"", "<moveFrom start=\"false\"")
        .replace("<delete start=\"true\"", "<delete start=\"false\"");
    assert!(parse(kept.as_bytes(), "c.xml").is_ok());
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
