//! What the filter list decides.

use super::*;

fn no_files(_: &[u8], _: &[u8]) -> Option<Vec<u8>> {
    None
}

#[track_caller]
fn list(rules: &[&str]) -> FilterList {
    let mut list = FilterList::new();
    for rule in rules {
        list.add_rule_text(rule.as_bytes(), &Origin::Argument, &mut no_files).unwrap();
    }
    list
}

#[track_caller]
fn failure(rule: &str, files: &[(&str, &str)]) -> (i32, String) {
    let mut list = FilterList::new();
    let mut read = |_: &[u8], name: &[u8]| {
        let found = files.iter().find(|(n, _)| n.as_bytes() == name);
        found.map(|(_, content)| content.as_bytes().to_vec())
    };
    let error = list.add_rule_text(rule.as_bytes(), &Origin::Argument, &mut read).unwrap_err();
    (error.exit_code().code(), error.to_string())
}

/// Names as a receiver gets them, a directory with a `/` at its end.
#[track_caller]
fn excluded(list: &FilterList, side: Side, name: &str) -> bool {
    let (name, is_dir) = match name.strip_suffix('/') {
        Some(name) => (name, true),
        None => (name, false),
    };
    list.is_excluded(name.as_bytes(), is_dir, side)
}

#[test]
fn the_names_of_cvs_stand_once_in_a_row() {
    let rules = |list: &FilterList| list.items.len();
    let many = list(&["-C", "- a", "-C", "-C", "+C", "-C"]);
    assert_eq!(rules(&many), 3);
    assert_eq!(rules(&list(&["-C", "!", "-C"])), 1);
    assert!(excluded(&list(&["!", "-C", "-C"]), Side::Sender, "x.o"));
}

#[test]
fn the_first_match_decides() {
    let list = list(&["+ */", "+ *.c", "- *"]);
    assert!(!excluded(&list, Side::Sender, "a/"));
    assert!(!excluded(&list, Side::Sender, "a/x.c"));
    assert!(excluded(&list, Side::Sender, "a/x.h"));
    assert_eq!(list.check(b".", true, Side::Sender), None);
}

#[test]
fn sides_and_perishable_rules() {
    let mut list = list(&["H hid", "P prot", "-p per", "-sr both", "- plain"]);
    for (name, sender, receiver) in
        [("hid", true, false), ("prot", false, true), ("both", true, true), ("plain", true, true)]
    {
        assert_eq!(excluded(&list, Side::Sender, name), sender, "{name}");
        assert_eq!(excluded(&list, Side::Receiver, name), receiver, "{name}");
    }
    assert_eq!(list.check(b"per", false, Side::Receiver), Some(false));
    assert_eq!(list.check_for_delete(b"per", false), None);
    assert_eq!(list.check_for_delete(b"prot", false), Some(false));
    list.set_delete_excluded(true);
    assert!(excluded(&list, Side::Sender, "plain"));
    assert!(!excluded(&list, Side::Receiver, "plain"));
    assert!(excluded(&list, Side::Receiver, "both"));
}

#[test]
fn a_clear_forgets_all_and_xattr_rules_match_no_name() {
    assert!(list(&["- a", ": .f", "!"]).is_empty());
    assert!(!list(&["- a", ": .f", "!"]).has_dir_merge());
    assert!(!excluded(&list(&["-x *"]), Side::Sender, "a"));
}

#[test]
fn received_names_are_refused_unless_files_decide() {
    assert!(list(&["- a"]).refuses_received(b"a", false));
    assert!(!list(&["P a"]).refuses_received(b"a", false));
    assert!(!list(&["- a", ": .f"]).refuses_received(b"a", false));
}

#[test]
fn texts_of_bad_rules() {
    for (rule, text) in [
        ("-foo", "invalid modifier 'f' at position 1 in filter rule: -foo"),
        ("-,foo", "invalid modifier 'f' at position 2 in filter rule: -,foo"),
        ("excludefoo x", "Unknown filter rule: excludefoo x"),
        ("exclude,pfoo", "invalid modifier 'f' at position 9 in filter rule: exclude,pfoo"),
        ("- ", "unexpected end of filter rule: - "),
        ("merge", "unexpected end of filter rule: merge"),
        (":", "unexpected end of filter rule: :"),
        ("! x", "'!' rule has trailing characters: ! x"),
        ("clear ", "'!' rule has trailing characters: clear "),
        ("hide,s foo", "invalid modifier 's' at position 5 in filter rule: hide,s foo"),
        ("H,C", "invalid modifier 'C' at position 2 in filter rule: H,C"),
        (":C- .f", "invalid modifier '-' at position 2 in filter rule: :C- .f"),
        (":-C .f", "invalid modifier 'C' at position 2 in filter rule: :-C .f"),
        (":! .f", "invalid modifier '!' at position 1 in filter rule: :! .f"),
        (" - foo", "Unknown filter rule:  - foo"),
        ("-\tfoo", "invalid modifier '\t' at position 1 in filter rule: -\tfoo"),
    ] {
        assert_eq!(failure(rule, &[]), (1, text.to_owned()), "{rule:?}");
    }
}

#[test]
fn texts_of_bad_rules_in_files_do_not_show_them() {
    for (rule, content, text) in [
        (". ef", "\n- a\nsecret here\n", "Unknown filter rule: <rule from ef line 3>"),
        (".w ef", "- a", "unexpected end of filter rule: <rule from ef>"),
        (". ef", "-q s", "invalid modifier in filter rule: <rule from ef line 1>"),
        (". ef", "- a\r\n. two", "Unknown filter rule: <rule from a file named at ef line 2>"),
        (
            ".s ef",
            "H a",
            "specified-side merge file contains specified-side filter: <rule from ef line 1>",
        ),
    ] {
        let got = failure(rule, &[("ef", content), ("two", "x\nhidden")]);
        assert_eq!(got, (1, text.to_owned()), "{content:?}");
    }
    assert_eq!(failure(". no", &[]), (11, "failed to open exclude file no".to_owned()));
    let nested = failure(". ef", &[("ef", "#\n. no")]);
    assert_eq!(nested, (11, "failed to open exclude file <rule from ef line 2>".to_owned()));
}

#[test]
fn rule_files_that_name_themselves_end() {
    let (code, text) = failure(". ef", &[("ef", ". ef\n. ef")]);
    assert_eq!(code, 11);
    assert!(text.contains("depth limit (32)"), "{text}");
}

#[test]
fn lines_of_files() {
    let mut list = FilterList::new();
    let content = b"; c\n# c\r\n foo\n\n+ x\n!\n- a\r+ b\r\nlast";
    let syntax = Syntax::Old { include: false };
    list.add_lines(content, syntax, b"ef", &mut no_files).unwrap();
    let got = list.encode_for_peer(false);
    assert_eq!(got, [&b"- a"[..], b"+ b", b"- last"]);
    list.set_from0(true);
    list.add_lines(b"!\0a\nb\0;x\0c", syntax, b"ef", &mut no_files).unwrap();
    assert_eq!(list.encode_for_peer(false), [&b"- a\nb"[..], b"- c"]);
}

#[test]
fn over_long_rules_are_dropped_with_a_warning() {
    let mut list = FilterList::new();
    list.add_exclude(&[b'a'; FILTER_PATTERN_MAX]).unwrap();
    assert!(list.take_warnings().is_empty());
    list.add_exclude(&[b'a'; FILTER_PATTERN_MAX + 1]).unwrap();
    assert!(list.take_warnings().concat().starts_with(b"discarding over-long filter: aaa"));
    assert_eq!(list.encode_for_peer(false).len(), 1);
}

#[test]
fn a_module_list_names_places_in_the_module() {
    let texts = ModuleFilters {
        filter: b"- /secret/  + keep -_*.tmp",
        exclude: b"a/b - c/ + d",
        include_from: Some((b"inc", b"x y\n")),
        ..ModuleFilters::default()
    };
    let mut list = FilterList::for_module(&texts, &mut no_files).unwrap();
    let texts: Vec<_> = list.encode_for_peer(false);
    let expected: [&[u8]; 7] =
        [b"-/ /secret/***", b"+ keep", b"- *.tmp", b"+ x y", b"-/ a/b", b"-/ c/***", b"+ d"];
    assert_eq!(texts, expected);
    list.set_root(b"/secret/sub");
    assert!(excluded(&list, Side::Sender, "any"));
    list.set_root(b"/a");
    assert!(excluded(&list, Side::Receiver, "b"));
    assert!(!excluded(&list, Side::Receiver, "any"));
}

#[test]
fn per_directory_files_follow_the_scan() {
    let files = |dir: &[u8], name: &[u8]| -> Option<Vec<u8>> {
        let text: &[u8] = match (dir, name) {
            (b"/", b".f") => b"- above",
            (b".", b".f") => b"- top\n- /anchored",
            (b"a", b".f") => b"+ top\n: .g\n- /own",
            (b"a", b".g") => b"- g",
            (b"a/b", b".f") => b"!\n",
            _ => return None,
        };
        Some(text.to_vec())
    };
    let mut list = list(&["+ first", ": /.f", "- last"]);
    list.set_root(b"/src");
    list.move_to_dir(b"a", &mut { files }).unwrap();
    for (name, out) in [("a/top", false), ("a/g", true), ("a/own", true), ("a/above", true)] {
        assert_eq!(excluded(&list, Side::Sender, name), out, "{name}");
    }
    assert!(!excluded(&list, Side::Sender, "a/anchored"));
    list.move_to_dir(b"a/b", &mut { files }).unwrap();
    for (name, out) in [("a/b/above", false), ("a/b/g", false), ("a/b/last", true)] {
        assert_eq!(excluded(&list, Side::Sender, name), out, "{name}");
    }
    list.move_to_dir(b"ab", &mut { files }).unwrap();
    for (name, out) in [("ab/top", true), ("ab/g", false), ("ab/own", false)] {
        assert_eq!(excluded(&list, Side::Sender, name), out, "{name}");
    }
    list.move_to_dir(b".", &mut { files }).unwrap();
    assert!(excluded(&list, Side::Sender, "anchored"));
    list.set_root(b"/src");
    assert!(!excluded(&list, Side::Sender, "top"));
}

#[test]
fn a_directory_with_a_bad_file_is_not_entered() {
    let mut list = list(&[": .f"]);
    let mut files = |dir: &[u8], _: &[u8]| (dir == b"a").then(|| b"- x\n-q".to_vec());
    list.enter_dir(b".", &mut files).unwrap();
    let error = list.enter_dir(b"a", &mut files).unwrap_err();
    assert_eq!(error.to_string(), "invalid modifier in filter rule: <rule from /a/.f line 2>");
    assert_eq!(list.frames.len(), 1);
}
