//! The rules as they travel.

use super::*;
use crate::codec::SliceSource;

/// The expected texts are what the reference program sent for these arguments.
const RULES: &str = "- foo|+ bar/|H hid|P prot|S sh|R rsk|-p per|-! neg|-/ abs|-x xa|-sr both|\
    - /anch/|: .f|:n- .fn|:C|:e .fe|:w+ .fw|:s .fs|:r .fr|:p/ .fp|-C|:C .foo|: /x/.y|: ../.z|\
    :sC .cc|: .a b |-  lead";

fn list(rules: &str) -> FilterList {
    let mut list = FilterList::new();
    for rule in rules.split('|') {
        list.add_rule_text(rule.as_bytes(), &Origin::Argument, &mut |_, _| None).unwrap();
    }
    list
}

/// `words`: how many built-in CVS words are expected; they are left out of `expected`.
#[track_caller]
fn check(delete_excluded: bool, am_sender: bool, words: usize, expected: &str) {
    let mut list = list(RULES);
    list.set_delete_excluded(delete_excluded);
    let texts = list.encode_for_peer(am_sender);
    let texts = texts.iter().map(|text| String::from_utf8_lossy(text).into_owned());
    let is_word = |text: &String| text.starts_with("-p ") && text != "-p per";
    let (cvs, others): (Vec<_>, Vec<_>) = texts.partition(is_word);
    assert_eq!(others.join("|"), expected);
    assert_eq!(cvs.len(), words);
}

#[test]
fn a_pulling_client_sends_what_hides() {
    check(
        false,
        false,
        0,
        "- foo|+ bar/|-s hid|+s sh|-p per|-! neg|-/ abs|-x xa|-sr both|- /anch/|: .f|:n- .fn|\
        :C .cvsignore|- .fe|: .fe|:w+ .fw|:s .fs|:r .fr|:/p .fp|-C |:C .foo|: /x/.y|: ../.z|\
        :Cs .cc|: .a b |-  lead",
    );
    // The reference program leaves out the `s` of `-s .fe`, which means the same to a sender.
    check(
        true,
        false,
        0,
        "-s foo|+s bar/|-s hid|+s sh|-sp per|-!s neg|-/s abs|-xs xa|-sr both|-s /anch/|: .f|\
        :n- .fn|:C .cvsignore|-s .fe|: .fe|:w+ .fw|:s .fs|:r .fr|:/p .fp|-Cs |:C .foo|: /x/.y|\
        : ../.z|:Cs .cc|: .a b |-s  lead",
    );
}

#[test]
fn a_pushing_client_sends_what_protects() {
    check(
        false,
        true,
        36,
        "- foo|+ bar/|-r prot|+r rsk|-p per|-! neg|-/ abs|-x xa|-sr both|- /anch/|: .f|:n- .fn|\
        :C .cvsignore|- .fe|: .fe|:w+ .fw|:r .fr|:/p .fp|:C .foo|: /x/.y|: ../.z|: .a b |-  lead",
    );
    check(
        true,
        true,
        0,
        "-r prot|+r rsk|-sr both|: .f|: .fe|:r .fr|:/p .fp|: /x/.y|: ../.z|: .a b ",
    );
}

#[test]
fn rules_survive_the_wire() {
    let texts = list(RULES).encode_for_peer(false);
    let mut bytes = Vec::new();
    put_rules(&mut bytes, &texts).unwrap();
    let mut source = SliceSource::new(&bytes);
    let got = get_rules(&mut source).unwrap();
    assert!(source.is_empty());
    let mut server = FilterList::new();
    server.add_from_wire(&got, Protocol::NEWEST).unwrap();
    // The server's own notion of the same rules is the same.
    assert_eq!(server.encode_for_peer(false), texts);
}

#[test]
fn lengths_out_of_range_are_refused() {
    for len in [-1_i32, 5120, i32::MAX] {
        let bytes = len.to_le_bytes();
        let error = get_rules(&mut SliceSource::new(&bytes)).unwrap_err();
        assert_eq!((error.exit_code(), error.field()), (ExitCode::Malloc, "filter-rule-len"));
    }
    let error = get_rules(&mut SliceSource::new(&[4, 0, 0, 0, b'-'])).unwrap_err();
    assert_eq!(error, Error::Truncated);
    let mut out = Vec::new();
    assert!(put_rules(&mut out, &[vec![b'-'; 5120]]).is_err());
}

#[test]
fn a_client_cannot_have_a_file_read() {
    for rule in [". /etc/shadow", "merge /etc/shadow", ".- x"] {
        assert!(
            FilterList::new().add_from_wire(&[rule.as_bytes().to_vec()], Protocol::NEWEST).is_err(),
            "{rule}"
        );
    }
}

/// What old forms can say, and that the rest is refused rather than left out.
#[test]
fn old_protocols_have_their_own_forms() {
    let [modern, plain] = [29, 28].map(|number| Protocol::new(number).unwrap());
    let texts = |rules: &[&str], protocol, am_sender| {
        let implied = [b"-p .partial/".to_vec()];
        list(&rules.join("|")).encode_in(protocol, am_sender, &implied).map_err(|e| e.exit_code())
    };
    let refused = Err(ExitCode::Protocol);
    assert_eq!(texts(&["-p x"], modern, true), refused);
    assert_eq!(texts(&["-p x", "-! y"], modern, false).unwrap(), [&b"- x"[..], b"-! y"]);
    assert_eq!(texts(&["-p .partial/"], modern, true).unwrap(), [b"- .partial/"]);
    let simple = ["- x", "+ y/", "- + z", "+ - z", "-r gone"];
    let want = [&b"x"[..], b"+ y/", b"- + z", b"+ - z", b"gone"];
    assert_eq!(texts(&simple, plain, true).unwrap(), want);
    for rule in ["-! x", ": .rules", "-/ x"] {
        assert_eq!(texts(&[rule], plain, true), refused, "{rule}");
    }
    let mut server = FilterList::new();
    server.add_from_wire(&want.map(<[u8]>::to_vec), plain).unwrap();
    assert_eq!(
        server.encode_for_peer(false),
        [&b"- x"[..], b"+ y/", b"- + z", b"+ - z", b"- gone"]
    );
}
