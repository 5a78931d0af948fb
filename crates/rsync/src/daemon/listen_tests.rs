//! Starting to listen, and what prevents it. Each listener here is told to end before it begins to
//! wait, so nothing takes time.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::console::Captured;
use crate::daemon::module::ServeFlags;

/// Starts a listener that ends at once; gives its exit code, its words and how often it detached.
fn serve_once(service: &Service, stay: bool) -> (ExitCode, String, String, usize) {
    let (stop, writer) = rustix::pipe::pipe().unwrap();
    rustix::io::write(&writer, b"x").unwrap();
    let console = Captured::default();
    let detached = AtomicUsize::new(0);
    let around = ListenerContext {
        console: &console,
        detach: &|| {
            detached.fetch_add(1, Ordering::Relaxed);
            Ok(())
        },
        stay,
        stop: stop.as_fd(),
        begun: &|_, _| None,
        signal: &|| Asked::End(ExitCode::Ok),
    };
    let respawn = Respawn { program: "/none".into(), args: Vec::new() };
    let exit = serve(service, &ListenArgs::default(), &respawn, &around);
    let (out, err) = console.take();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (exit, text(out), text(err), detached.into_inner())
}

fn flags(port: u16) -> Service {
    Service::new(ConfigSource::Flags(ServeFlags {
        modules: vec![(b"m".to_vec(), b"/".to_vec())],
        port: Some(port),
        address: Some(b"127.0.0.1".to_vec()),
        ..ServeFlags::default()
    }))
}

#[test]
fn a_free_port_is_told() {
    let (exit, out, _, detached) = serve_once(&flags(0), true);
    assert_eq!((exit, detached), (ExitCode::Ok, 0));
    let port = out.strip_prefix("listening on port ").unwrap().trim_end();
    assert!(port.parse::<u16>().unwrap() > 0);
}

#[test]
fn a_busy_port_is_a_failure_before_anything_detaches() {
    let other = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = other.local_addr().unwrap().port();
    let (exit, _, err, detached) = serve_once(&flags(port), false);
    assert_eq!((exit, detached), (ExitCode::SocketIo, 0));
    let expected = format!(
        "bind() failed: Address already in use (address-family 2)\n\
         unable to bind any inbound sockets on port {port}\n"
    );
    assert!(err.ends_with(&expected), "{err}");
    drop(other);
    let (exit, _, _, detached) = serve_once(&flags(port), false);
    assert_eq!((exit, detached), (ExitCode::Ok, 1));
}

#[test]
fn a_configuration_that_cannot_be_used_is_told_with_its_line() {
    let dir = std::env::temp_dir().join(format!("livemirror-listen-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let serve_text = |text: &str| {
        let path = dir.join("conf");
        std::fs::write(&path, text.replace("DIR", dir.to_str().unwrap())).unwrap();
        let path = path.into_os_string().into_encoded_bytes();
        let mut service = Service::new(ConfigSource::File(path));
        service.overrides = vec![b"address=127.0.0.1".to_vec()];
        let (exit, _, err, _) = serve_once(&service, true);
        (exit, err.replace(dir.to_str().unwrap(), "DIR"))
    };
    let (exit, err) = serve_text("\n[m]\nhosts deny = @group\n");
    assert_eq!(exit, ExitCode::Unsupported);
    assert!(err.starts_with("DIR/conf:3: \"@NETGROUP in a list"), "{err}");
    assert!(err.ends_with("Failed to parse config file: DIR/conf\n"));
    assert_eq!(serve_text("[]").0, ExitCode::Syntax);
    let (exit, err) = serve_text("pid file = DIR/none/pid\nport = 28731\nlog file = DIR/log\n");
    assert_eq!(exit, ExitCode::FileIo);
    assert!(err.ends_with("failed to open pid file DIR/none/pid: No such file or directory (2)\n"));
    let (exit, err) = serve_text(
        "pid file = DIR/pid\nport = 28732\nlog file = DIR/log\nignore errors\nsocket options = FOO\n",
    );
    assert_eq!(exit, ExitCode::Ok);
    let remark = "DIR/conf:4: ignore errors: Ignoring badly formed line in config file; write \
                  \"ignore errors = yes\"\nUnknown socket option FOO\n";
    assert_eq!(err, remark);
    assert!(!dir.join("pid").exists(), "removed at the end");
    let log = std::fs::read_to_string(dir.join("log")).unwrap();
    assert!(log.ends_with("starting, listening on port 28732\n"), "{log}");
    std::fs::remove_dir_all(&dir).unwrap();
}
