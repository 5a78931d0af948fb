//! A daemon behind a proxy, beside the reference: whom it believes, what it takes for a header, and
//! what a client of the proxy meets.

// A rule that cannot be checked is a failure.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use livemirror_tests::daemon_story::{DaemonStory, assert_same};
use livemirror_tests::peer::{Programs, Side};

const LIMIT: Duration = Duration::from_secs(20);

const CONFIG: &str = "proxy protocol = yes
HOSTS
use chroot = no
log file = PLACE/log
path = PLACE/tree
[all]
[one]
hosts allow = 10.1.2.3
";

const GREETING: &[u8] = b"@RSYNCD: 32.0 sha512 sha256 sha1 md5 md4\n#list\n";

fn binary(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let len = u16::try_from(body.len()).unwrap().to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n", &[command, family][..], &len, body].concat()
}

/// What a daemon answers to some bytes. A connection that it cuts off is as good as one it closes.
fn answer(port: u16, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let _ = stream.write_all(bytes);
    let mut said = Vec::new();
    let start = Instant::now();
    let _ = stream.read_to_end(&mut said);
    assert!(start.elapsed() < LIMIT, "no answer to {}", bytes.escape_ascii());
    String::from_utf8_lossy(&said).into_owned()
}

fn headers() -> Vec<Vec<u8>> {
    let four = [10, 1, 2, 3, 10, 9, 9, 9, 4, 210, 3, 105];
    let mut six = [0; 36];
    six[15] = 5;
    let lines = [
        "",
        "PROXY TCP4 10.1.2.3 10.9.9.9 1234 873\r\n",
        "PROXY TCP6 2001:db8::7 ::1 1234 873\r\n",
        "PROXY TCP6 10.1.2.3 10.9.9.9 1234 873\r\n",
        "PROXY UNKNOWN\r\n",
        "PROXY UNKNOWN ffff ffff 1 2\r\n",
        "PROXY TCP4 10.1.2.3 10.9.9.9 1234 873\n",
        "PROXY TCP4 10.1.2.3 10.9.9.9 0 873\r\n",
        "PROXY TCP4 10.1.2.3 10.9.9.9 70000 +873\r\n",
        "PROXY TCP4 10.1.2.3 10.9.9.9 1234\r\n",
        "PROXY TCP4 10.1.2 10.9.9.9 1234 873\r\n",
        "PROXY TCP4  10.1.2.3 10.9.9.9 1234 873\r\n",
        "PROXY TCP4 10.1.2.3 10.9.9.9 1234 873 x\r\n",
        "PROXY TCP4 10.1.2.3 10.9.9.9 1234 873 \r\n",
        "PROXY TCP4 10.1.2.3\0 10.9.9.9 1234 873\r\n",
        "PROXY TCP6 fe80::1%lo ::1 1234 873\r\n",
        "PROXY UNKNOWN a\rb\r\n",
        "proxy TCP4 10.1.2.3 10.9.9.9 1234 873\r\n",
        "GET / HTTP/1.0\r\n\r\n",
    ];
    let mut all: Vec<Vec<u8>> = lines.iter().map(|line| line.as_bytes().to_vec()).collect();
    all.extend([91, 92].map(|len| format!("PROXY UNKNOWN {}\r\n", "x".repeat(len)).into_bytes()));
    all.extend([
        // Bytes that look like a line without an end, and a number of them that has none.
        [b"PROXY TCP4 ".as_slice(), &[b'1'; 4000]].concat(),
        binary(0x21, 0x11, &four),
        binary(0x21, 0x21, &six),
        binary(0x20, 0, &[]),
        binary(0x20, 0x11, &four),
        binary(0x21, 0x12, &four),
        binary(0x21, 0x31, &[0; 216]),
        binary(0x21, 0x31, &[0; 217]),
        binary(0x21, 0x11, &four[..8]),
        binary(0x21, 0x11, &[&four[..], b"\x04\0\x01x"].concat()),
        binary(0x22, 0x11, &four),
        binary(0x11, 0x11, &four),
        binary(0x20, 0, &[0; 65535]),
    ]);
    all
}

fn headers_met(programs: &Programs, side: Side) -> Vec<(String, Vec<String>)> {
    let config = CONFIG.replace("HOSTS", "proxy protocol hosts = 10.0.0.0/8, 127.0.0.1/32");
    let mut story = DaemonStory::start(programs, side, "proxy", &config, |_| {});
    for header in headers() {
        let said = answer(story.server.port, &[&header, GREETING].concat());
        story.note(&header.escape_ascii().to_string(), vec![said]);
    }
    story.end()
}

#[test]
fn a_header_is_taken_or_the_connection_dropped() {
    let Some(programs) = Programs::find() else { return };
    assert_same(&headers_met(programs, Side::Theirs), &headers_met(programs, Side::Ours));
}

fn strangers_met(programs: &Programs, side: Side) -> Vec<(String, Vec<String>)> {
    let mut all = Vec::new();
    for hosts in ["", "proxy protocol hosts = 10.0.0.0/8", "proxy protocol hosts = localhost"] {
        let config = CONFIG.replace("HOSTS", hosts);
        let mut story = DaemonStory::start(programs, side, "stranger", &config, |_| {});
        for header in ["", "PROXY TCP4 10.1.2.3 10.9.9.9 1234 873\r\n"] {
            let said = answer(story.server.port, &[header.as_bytes(), GREETING].concat());
            assert_eq!(said, "", "{side:?}: {hosts}: {header}");
            story.note(&format!("{hosts}: {header}"), vec![said]);
        }
        all.extend(story.end());
    }
    all
}

#[test]
fn nobody_but_a_named_proxy_speaks_for_others() {
    // A failure would let a client choose the address that the lists of hosts see.
    let Some(programs) = Programs::find() else { return };
    let (theirs, ours) =
        (strangers_met(programs, Side::Theirs), strangers_met(programs, Side::Ours));
    assert_same(&theirs, &ours);
    let refused = "proxy protocol rejected from untrusted peer UNDETERMINED (127.0.0.1)";
    let told = ours.iter().filter(|(_, lines)| lines.iter().any(|line| line == refused));
    assert_eq!(told.count(), 6);
}

/// Passes one connection after the other on to `to`, each behind its header.
fn proxy(to: u16, headers: Vec<Vec<u8>>) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for header in headers {
            let (mut client, _) = listener.accept().unwrap();
            let mut daemon = TcpStream::connect((Ipv4Addr::LOCALHOST, to)).unwrap();
            daemon.write_all(&header).unwrap();
            let (mut from, mut into) = (client.try_clone().unwrap(), daemon.try_clone().unwrap());
            let up = thread::spawn(move || {
                let _ = std::io::copy(&mut from, &mut into);
                let _ = into.shutdown(Shutdown::Write);
            });
            let _ = std::io::copy(&mut daemon, &mut client);
            let _ = client.shutdown(Shutdown::Both);
            up.join().unwrap();
        }
    });
    port
}

fn clients_met(programs: &Programs, side: Side) -> Vec<(String, Vec<String>)> {
    let config = CONFIG.replace("HOSTS", "proxy protocol hosts = 127.0.0.1");
    let mut story = DaemonStory::start(programs, side, "behind", &config, |dir| {
        fs::create_dir(dir.join("tree")).unwrap();
        fs::write(dir.join("tree/file"), "content").unwrap();
    });
    let headers = vec![
        b"PROXY TCP4 10.1.2.3 10.9.9.9 1234 873\r\n".to_vec(),
        binary(0x21, 0x11, &[10, 1, 2, 3, 10, 9, 9, 9, 4, 210, 3, 105]),
        b"PROXY TCP4 10.1.2.4 10.9.9.9 1234 873\r\n".to_vec(),
        binary(0x20, 0, &[]),
    ];
    let count = headers.len();
    let port = proxy(story.server.port, headers);
    for _ in 0..count {
        fs::create_dir(story.dir.join("got")).unwrap();
        story.client_of(port, &["-r", "HOST/one/", "got/"], &["got"]);
        fs::remove_dir_all(story.dir.join("got")).unwrap();
    }
    story.end()
}

#[test]
fn lists_of_hosts_see_whom_the_proxy_speaks_for() {
    let Some(programs) = Programs::find() else { return };
    assert_same(&clients_met(programs, Side::Theirs), &clients_met(programs, Side::Ours));
}
