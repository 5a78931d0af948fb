//! Which words name another machine, and what sets of words are refused.

use super::*;

fn place(word: &str) -> String {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    match parse(word.as_bytes(), &Options::default()) {
        Ok(Location::Local(path)) => format!("local {}", text(path)),
        Ok(Location::Shell { user, host, path }) => {
            let user = user.map_or("-".to_owned(), text);
            format!("shell {user} {} {}", text(host), text(path))
        }
        Ok(Location::Daemon { user, host, port, module_path, tls, .. }) => {
            let user = user.map_or("-".to_owned(), text);
            let kind = if tls { "tls" } else { "daemon" };
            format!("{kind} {user} {} {port:?} {}", text(host), text(module_path))
        }
        Err(error) => text(error.text),
    }
}

#[test]
fn words_as_the_reference_reads_them() {
    for (word, expected) in [
        ("a", "local a"),
        ("./a:b", "local ./a:b"),
        ("h:", "shell - h ."),
        ("h:a", "shell - h a"),
        (":a", "shell -  a"),
        ("u@h:a", "shell u h a"),
        ("u@v@h:a", "shell u@v h a"),
        ("@h:x", "shell  h x"),
        ("u@:x", "shell u  x"),
        ("[::1]:a", "shell - ::1 a"),
        ("u@[::1]:a", "shell u ::1 a"),
        ("[::1]a", "local [::1]a"),
        ("[::1", "local [::1"),
        ("h[1]:a", "local h[1]:a"),
        ("h::m/p", "daemon - h None m/p"),
        ("h::", "daemon - h None "),
        ("rsync://h", "daemon - h None "),
        ("RSYNC://h:99/m", "daemon - h Some(99) m"),
        ("rsync://u@h/", "daemon u h None "),
        ("rsyncs://h/m/p", "tls - h Some(874) m/p"),
        ("RSYNCS://u@h:99/m", "tls u h Some(99) m"),
        ("rsync://[::1]:99/m", "daemon - ::1 Some(99) m"),
        ("rsync://h:/m", "daemon - h None m"),
        ("rsync://h:9x/m", "shell - rsync //h:9x/m"),
        ("-x:a", "Invalid remote host: hostnames may not start with '-'.\n"),
        ("h::/x", "ERROR: The remote path must start with a module name not a /\n"),
    ] {
        assert_eq!(place(word), expected, "{word}");
    }
}

#[test]
fn an_empty_host_is_the_first_one() {
    let words: Vec<Vec<u8>> = ["u@h:a", ":b", "d"].map(|w| w.as_bytes().to_vec()).to_vec();
    let plan = plan(&words, &Options::default()).unwrap();
    assert_eq!(plan.kind, PlanKind::Pull);
    assert_eq!(plan.sources[1].machine(), b"u@h");
}
