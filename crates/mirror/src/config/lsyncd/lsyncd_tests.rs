//! Programs as people write them, and what comes of them.

use rsync::options::FilterArg;

use super::*;
use crate::config::{DeleteOnly, ExitRule, Once, SyncConfig};

fn loaded(text: &str) -> ForeignConfig {
    load_text("c.lua", text).unwrap_or_else(|errors| panic!("{text}: {errors:?}"))
}

fn one(text: &str) -> SyncConfig {
    loaded(text).config.syncs.remove(0)
}

/// The mistakes of a text, `!` before what is refused.
fn errors(text: &str) -> Vec<String> {
    let shown = |e: &ConfigError| format!("{}{e}", if e.refused { "!" } else { "" });
    load_text("c.lua", text).unwrap_err().iter().map(shown).collect()
}

#[test]
fn the_article_s_file_loads_as_printed() {
    // A failure would shut the door before those who follow that text.
    let text = include_str!("../../../tests/data/article_lsyncd.conf");
    let loaded = loaded(text);
    assert!(loaded.remarks.is_empty());
    assert_eq!(loaded.process.log_file.as_deref(), Some(&b"/var/lsyncd/lsyncd.log"[..]));
    assert!(!loaded.process.foreground);
    assert_eq!(loaded.process.status_file.unwrap().interval_s, 10);
    let sync = &loaded.config.syncs[0];
    assert_eq!(sync.source, b"/temp/test_src0");
    assert_eq!(sync.target, b"rsync://rsync@192.168.2.230/rsync_test0/");
    assert!(sync.contents && !sync.delete);
    assert_eq!((sync.delay_ms, sync.max_delays), (10_000, 20));
    let options = &sync.options;
    assert_eq!(options.filters, [FilterArg::Exclude(b"dir*".to_vec())]);
    assert_eq!(options.bwlimit, 200 * 1024);
    assert_eq!(options.password_file.as_deref(), Some(&b"/etc/lsyncd/rsync.passwd"[..]));
    let archive = [options.links, options.perms, options.times, options.owner, options.group];
    assert!(archive.iter().all(|&on| on) && options.devices && options.specials);
    assert!(options.compress);
    assert_eq!(loaded.origins[0].find(&["rsync.bwlimit"]), (36, "rsync.bwlimit = 200".into()));
}

#[test]
fn defaults_are_those_of_lsyncd() {
    // A failure would change modes or owners that lsyncd leaves alone, or send at other times.
    let sync = one("sync { default.rsync, source = '/a', target = '/t' }");
    let options = &sync.options;
    assert!(options.links && options.times && !options.perms && !options.owner && !options.group);
    assert!(sync.delete && sync.delete_only.is_none() && !sync.skip_first);
    assert_eq!((sync.delay_ms, sync.max_delays), (15_000, 1000));
    assert_eq!((sync.name.as_str(), sync.target.as_slice()), ("Sync1", &b"/t/"[..]));
    let direct = one("sync { default.direct, source = '/a', target = '/t' }");
    assert_eq!(direct.delay_ms, 1000);
    assert!(direct.options.perms && direct.options.owner);
    let some = one(
        "sync { default.rsync, source = '/a', target = 'h:', rsync = { archive = true, \
                    perms = false, hard_links = true, _extra = { '--chmod=F644', '--port', '8' } } }",
    );
    assert!(!some.options.perms && some.options.owner && some.options.hard_links);
    assert_eq!(some.target, b"h:");
    assert_eq!((some.options.chmod.len(), some.options.port), (1, Some(8)));
}

#[test]
fn the_language_is_lua_with_inheritance() {
    // A failure would refuse the files of everybody who writes more than one table.
    let text = "settings { maxDelays = 7, 'insist' }\n\
        local base = { default.rsyncssh, delay = 3, rsync = { archive = true, bwlimit = 10 } }\n\
        for i, host in ipairs { 'one', 'two' } do\n\
        sync { base, source = '/srv/' .. i, host = host, targetdir = '/d', exclude = { '*.o', '/x' },\n\
        rsync = { bwlimit = 20 }, ssh = { port = 22, identityFile = '/a b', options = { A = 'no' } } }\n\
        end\n\
        sync { default.rsync, source = string.rep('/x', 2), target = os.getenv('NO') or '/t', init = false }\n";
    let loaded = loaded(text);
    let syncs = &loaded.config.syncs;
    assert_eq!(syncs.len(), 3);
    assert_eq!(syncs[1].target, b"two:/d/");
    assert_eq!((syncs[1].delay_ms, syncs[1].max_delays), (3000, 7));
    assert_eq!(syncs[1].options.bwlimit, 20 * 1024);
    assert!(syncs[1].options.perms, "the inner table is inherited too");
    assert_eq!(syncs[1].options.rsh.as_deref(), Some(&b"ssh -p 22 -i '/a b' -o A=no"[..]));
    assert_eq!(syncs[1].options.filters.len(), 2);
    assert!(syncs[2].skip_first && syncs[2].source == b"/x/x");
    assert_eq!(loaded.origins[1].line, 4);
}

#[test]
fn of_two_remote_shells_the_one_that_says_how_to_connect_counts() {
    // A failure would refuse what lsyncd takes, or knock at another port.
    let shell = |more: &str| {
        let sync = "sync { default.rsyncssh, source = '/a', host = 'h', targetdir = '/t'";
        one(&format!("{sync}, rsync = {{ rsh = 'own -4' }}, {more} }}")).options.rsh
    };
    assert_eq!(shell("ssh = { port = 22 }").as_deref(), Some(&b"ssh -p 22"[..]));
    assert_eq!(shell("ssh = { binary = '/b/ssh' }").as_deref(), Some(&b"own -4"[..]));
}

#[test]
fn settings_of_the_process_are_read() {
    // A failure would log under another name, or run more than was allowed.
    let text = "settings { logident = 'mine', logfacility = 'local3', maxProcesses = 4 }\n\
        sync { default.rsync, source = '/a', target = '/t' }";
    let loaded = loaded(text);
    assert_eq!(loaded.process.log_ident.as_deref(), Some(&b"mine"[..]));
    assert_eq!(loaded.process.log_facility.as_deref(), Some(&b"local3"[..]));
    assert_eq!(loaded.config.processes_max, Some(4));
}

#[test]
fn rules_and_deletions() {
    // A failure would hide other files, or delete where nothing was to be deleted.
    let text =
        |more: &str| format!("sync {{ default.rsync, source = '/a', target = '/t', {more} }}");
    let rules = one(&text("exclude = 'a', filter = { '+ /b', '- *' }")).options.filters;
    let rule = |text: &str| FilterArg::Rule(text.as_bytes().to_vec());
    assert_eq!(rules, [rule("+ /b"), rule("- *"), FilterArg::Exclude(b"a".to_vec())]);
    for (word, delete, only) in [
        ("true", true, None),
        ("false", false, None),
        ("'startup'", true, Some(DeleteOnly::Whole)),
        ("'running'", true, Some(DeleteOnly::Changes)),
        ("false, rsync = { _extra = { '--delete', '-P' } }", true, None),
    ] {
        let sync = one(&text(&format!("delete = {word}")));
        assert_eq!((sync.delete, sync.delete_only), (delete, only), "{word}");
    }
}

#[test]
fn exit_codes_the_clock_and_a_single_pass() {
    // A failure would end where nothing ends, or go on where a script waits for the end.
    let text = "settings { onepass = true, insist = true }\n\
        sync { default.rsync, source = '/a', target = '/t', batchSizeLimit = 1000,\n\
        crontab = { '1 0 3 * * *', '0 30 * * * *' }, exitcodes = { [23] = 'ok', [12] = 'die', [5] = 'again' } }\n\
        sync { default.rsyncssh, source = '/b', host = 'h', targetdir = '/t',\n\
        sshExitCodes = { [255] = 'die', [1] = 'ok' }, rsyncExitCodes = { [24] = 'ok' } }";
    let syncs = loaded(text).config.syncs;
    assert_eq!((syncs[0].once, syncs[0].alone_above), (Some(Once::Done), Some(1000)));
    assert_eq!(syncs[0].crontab.len(), 2);
    let rules: Vec<(i32, ExitRule)> = syncs[0].exits.iter().map(|(c, r)| (*c, *r)).collect();
    assert_eq!(rules, [(5, ExitRule::Again), (12, ExitRule::Die), (23, ExitRule::Good)]);
    let rules: Vec<(i32, ExitRule)> = syncs[1].exits.iter().map(|(c, r)| (*c, *r)).collect();
    assert_eq!(rules, [(24, ExitRule::Good), (255, ExitRule::Die)]);
    let single = one("settings { 'onepass' } sync { default.rsync, source = '/a', target = '/t' }");
    assert_eq!(single.once, Some(Once::Tried));
}

#[test]
fn syncs_with_actions_of_their_own_are_told_from_others() {
    // A failure would send a tree where a command was to run, or run nothing at all.
    let text = "local echo = { maxProcesses = 3, delay = 2, onCreate = '/bin/echo ^path' }\n\
        sync { echo, source = '/a', target = '/t' }\n\
        sync { source = '/b', onMove = true, action = function() end }\n\
        sync { default.rsync, source = '/c', target = '/t', rsync = { binary = '/x/wrap' } }\n\
        sync { default.rsync, source = '/d', target = '/u', rsync = { binary = '/x/rsync' } }\n\
        sync { default.rsync, source = '/e', host = 'h', prepare = function(c)\n\
        c.target = c.host .. ':x' end }";
    let config = loaded(text).config;
    let syncs = &config.syncs;
    let scripted: Vec<bool> = syncs.iter().map(|sync| sync.script).collect();
    assert_eq!(scripted, [true, true, true, false, true]);
    assert_eq!((syncs[0].processes, syncs[0].delay_ms), (3, 2000));
    assert_eq!((syncs[1].processes, syncs[1].delay_ms, syncs[2].delay_ms), (1, 0, 15_000));
    assert_eq!((syncs[1].target.as_slice(), syncs[4].target.as_slice()), (&b""[..], &b"h:x"[..]));
    assert!(config.script.is_some());
    for (more, want) in [
        ("foo = 1", "c.lua:1: unknown key foo in sync; lsyncd has no such key"),
        ("exclude = 'x'", "c.lua:1: unknown key exclude in sync; lsyncd has no such key"),
        ("prepare = function() error('mine', 4) end", "c.lua:1: mine"),
        ("onModify = 'x ^target'", "c.lua:1: onModify uses ^target, and the sync has no target"),
        ("maxProcesses = 0", "c.lua:1: maxProcesses = 0: nothing would ever be sent"),
    ] {
        let text = format!("sync {{ source = '/a', onCreate = 'x', {more} }}");
        assert_eq!(errors(&text).first().map(String::as_str), Some(want), "{more}");
    }
    let gauge = "checkgauge = { default.checkgauge, foo = true, exclude = true }, foo = 1";
    assert!(one(&format!("sync {{ source = '/a', onCreate = 'x', {gauge} }}")).script);
}

#[test]
fn mistakes_and_refusals_have_their_line() {
    // A failure would run something else than what is written, or leave people to guess.
    let sync = "sync { default.rsync, source = '/a', target = '/t',\n";
    for (text, want) in [
        (
            "settings {\n statusIntervall = 1 }",
            "c.lua:2: unknown key statusIntervall in settings; did you mean statusInterval?",
        ),
        (
            "settings = {\n}",
            "c.lua:1: settings = { ... } is the form before version 2.1: write settings { ... }, without the sign",
        ),
        (
            "settings {\n delay = 3 }",
            "c.lua:2: unknown key delay in settings; write delay = SECONDS into each sync",
        ),
        (
            "\nsettings.nodaemon = true",
            "c.lua:2: settings.nodaemon = ... is an old form: write settings { nodaemon = ... }",
        ),
        (
            "settings { logfacility = 'frob' }",
            "c.lua:1: logfacility = \"frob\" is none of the system's log",
        ),
        ("x = 1", "c.lua: nothing to watch: no sync { ... } was called"),
        (
            "sync {\n default.rsync,\n delay = 1\n source = '/a' }",
            "c.lua:4: '}' expected (to close '{' at line 1) near 'source'; is a comma missing before it?",
        ),
        (
            "sync { source = '/a', target = '/t' }",
            "c.lua:1: this sync names no layer: begin it with default.rsync, default.rsyncssh or default.direct",
        ),
        ("sync { default.rsync, source = '/a' }", "c.lua:1: this sync has no target"),
        ("error('mine')", "c.lua:1: mine"),
        ("alarm(1)", "c.lua:1: alarm wants a time and a function"),
        (
            "observefd(1)",
            "!c.lua:1: observefd(...) is not done here: only modules in C have descriptors, and none \
             can be loaded",
        ),
        ("spawn({}, 'x')", "c.lua:1: spawn works only while files change"),
        ("x = {}\nx.y.z = 1", "c.lua:2: attempt to index a nil value (field 'y')"),
        (
            "sync { default.rsyncssh, source = '/a', target = '/t' }",
            "c.lua:1: default.rsyncssh wants host and targetdir instead of target",
        ),
        (
            "sync { default.direct, source = '/a', target = 'h:/t' }",
            "c.lua:1: default.direct wants a local target",
        ),
    ] {
        assert_eq!(errors(text).first().map(String::as_str), Some(want), "{text}");
    }
    for (more, want) in [
        ("exlude = 1", "unknown key exlude in sync; did you mean exclude?"),
        (
            "onEvent = 1",
            "unknown key onEvent in sync; lsyncd has no such key; the nearest is onCreate",
        ),
        (
            "rsyncOps = {}",
            "unknown key rsyncOps in sync; write rsync = { ... }, which came with version 2.1",
        ),
        (
            "delete = running",
            "delete = running: running is a variable without a value, so everything extra at the target would be deleted; write delete = \"running\"",
        ),
        (
            "delete = 'false'",
            "delete = \"false\" means neither: write true, false, \"startup\" or \"running\"",
        ),
        ("delay = '5'", "delay = \"5\": must be a number, without quotes"),
        ("delay = -1", "delay = -1: must be from 0 to 2592000"),
        ("maxProcesses = 0", "maxProcesses = 0: nothing would ever be sent"),
        ("filter = 'x'", "the rule \"x\" must begin with \"+ \" or \"- \""),
        (
            "excludeFrom = '/no/such/file'",
            "excludeFrom: /no/such/file: No such file or directory (os error 2)",
        ),
        ("host = 'h'", "host belongs to default.rsyncssh; default.rsync has target alone"),
        ("rsync = { compres = true }", "unknown key compres in rsync; did you mean compress?"),
        (
            "rsync = { delete = true }",
            "unknown key delete in rsync; write delete = ... into the sync, beside rsync",
        ),
        ("rsync = { perms = 'yes' }", "perms in rsync must be true or false, not a string"),
        ("rsync = { _extra = { 'x' } }", "_extra: \"x\" is no option"),
        (
            "crontab = { '1 0 3 * *  * *' }",
            "crontab: \"1 0 3 * *  * *\": 7 fields, where six are wanted, seconds first",
        ),
        ("exitcodes = { [3] = 'maybe' }", "exitcodes: [3] must be 'ok', 'again' or 'die'"),
        ("rsyncExitCodes = {}", "rsyncExitCodes is no key of default.rsync"),
        ("batchSizeLimit = '1M'", "batchSizeLimit = \"1M\": must be a number, without quotes"),
    ] {
        assert_eq!(errors(&format!("{sync}{more} }}")), [format!("c.lua:2: {want}")], "{more}");
    }
    for (more, want) in [
        (
            "tunnel = { command = 'x' }",
            "tunnel is not done here: start the tunnel by itself and name its local end as target",
        ),
        (
            "rsync = { _extra = { '--debug=hash' } }",
            "_extra in rsync: livemirror: --debug=HASH is not supported yet",
        ),
        (
            "rsync = { copy_links = true }",
            "copy_links in rsync: --copy-links (or the like) has no meaning for a mirror",
        ),
    ] {
        assert_eq!(errors(&format!("{sync}{more} }}")), [format!("!c.lua:2: {want}")], "{more}");
    }
}

#[test]
fn names_without_a_value_are_told() {
    // A failure would leave a forgotten pair of quotes without a word.
    let text = "settings { nodaemon,\n insist = yes }\nsync { default.rsync, source = '/a', target = '/t' }";
    let remarks: Vec<String> = loaded(text).remarks.iter().map(ToString::to_string).collect();
    assert_eq!(
        remarks,
        [
            "c.lua:1: nodaemon has no value and no effect: write nodaemon = true",
            "c.lua:2: insist = yes: yes is a variable without a value, so the key has no effect; \
             write it in quotes if a text is meant",
        ]
    );
}

#[test]
fn a_program_is_bounded_in_memory() {
    // A failure would let a slip in a loop take the machine down.
    assert_eq!(errors("t = {} for i = 1, 1e9 do t[i] = i end").len(), 1);
}
