//! What `check` looks at in this machine, and the two repairs. All paths are the operator's own.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, ToSocketAddrs as _, UdpSocket};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Flock, FlockType, fcntl_getlk};

use crate::plan::exclude::Exclude;

/// Bytes as a path.
pub fn path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

/// A file, if it is not longer than a configuration can be.
pub fn read(file: &[u8]) -> io::Result<Vec<u8>> {
    crate::config::file::read(path(file))
}

/// Makes a directory, those above it included.
pub fn make_dir(dir: &[u8]) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o755).create(path(dir))
}

/// Gives a file to its owner alone.
pub fn close(file: &[u8]) -> io::Result<()> {
    fs::set_permissions(path(file), fs::Permissions::from_mode(0o600))
}

/// Mode and owner of a file.
pub fn mode_and_owner(file: &[u8]) -> io::Result<(u32, u32)> {
    fs::metadata(path(file)).map(|meta| (meta.mode() & 0o7777, meta.uid()))
}

/// What stands at a path that should be a directory.
pub fn directory(dir: &[u8]) -> io::Result<()> {
    match fs::metadata(path(dir))?.is_dir() {
        true => Ok(()),
        false => Err(io::ErrorKind::NotADirectory.into()),
    }
}

/// Whether a directory is there and has entries.
pub fn is_filled(dir: &[u8]) -> bool {
    fs::read_dir(path(dir)).is_ok_and(|mut entries| entries.next().is_some())
}

/// A path without links, relative parts and what does not exist yet resolved as far as can be.
pub fn resolved(dir: &[u8]) -> PathBuf {
    let mut rest = path(dir).to_path_buf();
    let mut missing = Vec::new();
    loop {
        let probe = if rest.as_os_str().is_empty() { Path::new(".") } else { &rest };
        if let Ok(found) = probe.canonicalize() {
            return missing.iter().rev().fold(found, |whole: PathBuf, name| whole.join(name));
        }
        match (rest.file_name().map(OsStr::to_os_string), rest.parent()) {
            (Some(name), Some(parent)) => {
                missing.push(name);
                rest = parent.to_path_buf();
            }
            _ => return path(dir).to_path_buf(),
        }
    }
}

/// Bytes that are free where a path is, or will be.
pub fn free_bytes(dir: &[u8]) -> Option<u64> {
    let place = resolved(dir);
    let there = place.ancestors().find(|place| place.exists())?;
    let fs = rustix::fs::statvfs(there).ok()?;
    fs.f_bavail.checked_mul(fs.f_frsize)
}

/// Whether a host's address is one of this machine's, loop-back left out.
pub fn is_this_machine(host: &[u8]) -> bool {
    let Ok(host) = std::str::from_utf8(host) else { return false };
    let own = |ip: IpAddr| !ip.is_loopback() && UdpSocket::bind((ip, 0)).is_ok();
    match host.parse::<IpAddr>() {
        Ok(ip) => own(ip),
        Err(_) => false,
    }
}

/// Whether a host names the loop-back address.
pub fn is_loopback(host: &[u8]) -> bool {
    let Ok(host) = std::str::from_utf8(host) else { return false };
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// The address that a daemon on a host would see this machine at, if no gateway changes it. Nothing
/// is sent.
pub fn own_address(host: &[u8], port: u16) -> Option<IpAddr> {
    let host = std::str::from_utf8(host).ok()?;
    let target = if host == "localhost" { "127.0.0.1" } else { host };
    let target: IpAddr = target.parse().ok()?;
    let any: IpAddr = match target {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect((target, port)).ok()?;
    let own = socket.local_addr().ok()?.ip();
    let inside = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => ip.is_private() || ip.is_loopback() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_loopback(),
    };
    // From inside to outside there is a gateway that shows another address.
    (inside(own) == inside(target)).then_some(own)
}

/// The process that has a file locked, as a daemon has its `pid file`.
pub fn lock_holder(file: &[u8]) -> Option<u32> {
    let file = fs::File::open(path(file)).ok()?;
    let whole = Flock::from(FlockType::WriteLock);
    let held = fcntl_getlk(&file, &whole).ok()??;
    u32::try_from(held.pid?.as_raw_nonzero().get()).ok()
}

/// The name of a process.
pub fn process_name(pid: u32) -> String {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    name.trim().to_owned()
}

/// Whether nobody listens at a port.
pub fn is_free(address: &str, port: u16) -> bool {
    let address = if address.is_empty() { "0.0.0.0" } else { address };
    std::net::TcpListener::bind((address, port)).is_ok()
}

/// Why a daemon's port cannot be reached within some seconds.
pub fn reach(host: &[u8], port: u16) -> io::Result<()> {
    let host = std::str::from_utf8(host).map_err(io::Error::other)?;
    let mut last = io::Error::other("the host has no address");
    for address in (host, port).to_socket_addrs()? {
        match std::net::TcpStream::connect_timeout(&address, CONNECT_MAX) {
            Ok(_) => return Ok(()),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Whether something other than an rsync daemon holds a port.
pub fn held_by_another(address: &str, port: u16) -> bool {
    let address = if address.is_empty() { "0.0.0.0" } else { address };
    match std::net::TcpListener::bind((address, port)) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
        _ => return false,
    }
    let host = if address == "0.0.0.0" { "127.0.0.1" } else { address };
    let Ok(mut stream) = std::net::TcpStream::connect((host, port)) else { return true };
    let mut greeting = [0; 8];
    let read = stream.set_read_timeout(Some(CONNECT_MAX));
    !(read.and_then(|()| stream.read_exact(&mut greeting)).is_ok() && greeting == *b"@RSYNCD:")
}

/// The process that listens at a port, as far as this user may know: its number and name.
pub fn listener(port: u16) -> Option<(u32, String)> {
    let mut inodes = Vec::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let text = fs::read_to_string(table).unwrap_or_default();
        let rows = text.lines().map(|row| row.split_whitespace().collect::<Vec<_>>());
        let listens = |row: &Vec<&str>| {
            row.get(1).is_some_and(|at| at.ends_with(&format!(":{port:04X}")))
                && row.get(3) == Some(&LISTEN)
        };
        inodes.extend(
            rows.filter(listens).filter_map(|row| Some(format!("socket:[{}]", row.get(9)?))),
        );
    }
    for process in fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let files = fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten();
        let mut links = files.filter_map(|file| fs::read_link(file.path()).ok());
        if links.any(|link| link.to_str().is_some_and(|l| inodes.iter().any(|i| i == l))) {
            return Some((pid, process_name(pid)));
        }
    }
    None
}

/// What a short walk over a source finds.
#[derive(Clone, Debug, Default)]
pub struct SourceSize {
    /// Directories, the source itself included.
    pub dirs: u64,
    /// Bytes of the regular files that are not hidden.
    pub bytes: u64,
    /// Entries that a rule hides, those below hidden directories left out.
    pub hidden: u64,
    /// One of them.
    pub example: Vec<u8>,
    /// Everything was seen in the time there was.
    pub complete: bool,
}

/// Walks a source for a moment.
pub fn size_up(source: &[u8], exclude: &Exclude) -> SourceSize {
    let mut size = SourceSize { complete: true, ..SourceSize::default() };
    let until = Instant::now() + WALK_MAX;
    let mut todo = vec![(path(source).to_path_buf(), Vec::new())];
    while let Some((dir, name)) = todo.pop() {
        size.dirs += 1;
        let Ok(entries) = fs::read_dir(&dir) else {
            size.complete = false;
            continue;
        };
        for entry in entries.flatten() {
            if Instant::now() > until {
                return SourceSize { complete: false, ..size };
            }
            let slash: &[u8] = if name.is_empty() { b"" } else { b"/" };
            let inner = [name.as_slice(), slash, entry.file_name().as_bytes()].concat();
            let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if exclude.hides(&inner, is_dir) {
                size.hidden += 1;
                size.example = inner;
            } else if is_dir {
                todo.push((entry.path(), inner));
            } else {
                size.bytes += entry.metadata().map_or(0, |meta| meta.len());
            }
        }
    }
    size
}

/// The state of a listening socket in the kernel's table.
const LISTEN: &str = "0A";
/// How long a source is walked at most.
const WALK_MAX: Duration = Duration::from_secs(2);
/// How long a daemon may take to accept.
const CONNECT_MAX: Duration = Duration::from_secs(5);
