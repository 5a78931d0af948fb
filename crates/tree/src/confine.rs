//! The kernel's own fence around one directory (Landlock), where there is one.
//!
//! Called by a daemon's connection and by the forced command of a key, once everything else that
//! has a path is open. What stays within reach: the directory, and for reading what the C library
//! needs to look names up. The directory handles of this crate keep a peer below the root without
//! it; this is for the mistake that nobody knows of. Kernels from 5.19 (ABI 2) have what a transfer
//! needs: on older ones nothing could be renamed between directories, so none is asked for.

use std::io;

use landlock::{
    ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus,
};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxFlags, openat, statx};
use rustix::io::Errno;

use crate::dir::Dir;

/// What a transfer cannot do without: renames between directories.
const LEAST: ABI = ABI::V2;
/// The newest rights that are taken away where the kernel knows them.
const MOST: ABI = ABI::V5;

/// What looking up users, groups and time zones reads: files, and directories with all below them.
const SYSTEM: &[&str] = &[
    "/etc/passwd",
    "/etc/group",
    "/etc/nsswitch.conf",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/etc/timezone",
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/share/zoneinfo",
    "/var/lib/sss",
    "/run/nscd",
    "/run/systemd/userdb",
    "/proc/self",
];

/// Whether the fence stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fence {
    /// It does, and a try to leave was seen to fail.
    Stands,
    /// The kernel has none, or it is switched off there.
    None,
}

/// Whether this kernel has what it takes.
pub fn available() -> bool {
    ruleset().is_ok()
}

fn ruleset() -> Result<landlock::RulesetCreated, RulesetError> {
    let needed = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    let needed = needed.handle_access(AccessFs::from_all(LEAST))?;
    let more = needed.set_compatibility(CompatLevel::BestEffort);
    more.handle_access(AccessFs::from_all(MOST))?.create()
}

/// Keeps this thread, and all that it starts, to a directory for good; with `writes` unset, to
/// reading there. Call it before any thread starts.
///
/// # Errors
/// The kernel has a fence and it could not be set up, or does not hold: nothing may be served.
pub fn confine(dir: &Dir, writes: bool) -> io::Result<Fence> {
    let Ok(rules) = ruleset() else { return Ok(Fence::None) };
    let within = if writes { AccessFs::from_all(MOST) } else { reading() };
    let fenced = || -> Result<_, RulesetError> {
        let mut rules = rules.add_rule(PathBeneath::new(dir.fd(), within))?;
        for path in SYSTEM {
            let Ok(open) = PathFd::new(path) else { continue };
            let one = PathBeneath::new(open, reading());
            rules = rules.set_compatibility(CompatLevel::BestEffort).add_rule(one)?;
        }
        rules.restrict_self()
    };
    let status = fenced().map_err(io::Error::other)?;
    match status.ruleset {
        RulesetStatus::NotEnforced => Err(io::Error::other("not enforced")),
        _ if holds(dir)? => Ok(Fence::Stands),
        _ => Err(io::Error::other("the fence does not hold")),
    }
}

/// Reading files and directories, and running nothing.
fn reading() -> BitFlags<AccessFs> {
    AccessFs::ReadFile | AccessFs::ReadDir
}

/// Whether a directory above is out of reach; where `dir` is the root of the process there is none.
fn holds(dir: &Dir) -> io::Result<bool> {
    let own = dir.stat_self()?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match openat(CWD, "/", flags, Mode::empty()) {
        Err(Errno::ACCESS) => Ok(true),
        Err(error) => Err(error.into()),
        Ok(top) => {
            let top = statx(top, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)?;
            let top = crate::meta::Meta::from_statx(&top);
            Ok((top.dev, top.ino) == (own.dev, own.ino))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    /// Runs in a thread of its own, which the fence stays with.
    fn inside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
        std::thread::spawn(work).join().unwrap()
    }

    #[test]
    fn the_kernel_keeps_a_process_in_its_directory() {
        if !available() {
            return;
        }
        let s = Scratch::new();
        std::fs::create_dir_all(s.path("m/d")).unwrap();
        for file in ["m/f", "m/d/g", "out"] {
            std::fs::write(s.path(file), file).unwrap();
        }
        for writes in [true, false] {
            let paths = ["m/f", "m/d/g", "out", "m/new"].map(|path| s.path(path));
            let dir = crate::root::Root::open(s.path("m").as_os_str().as_encoded_bytes()).unwrap();
            let found = inside(move || {
                assert_eq!(confine(dir.top(), writes).unwrap(), Fence::Stands);
                let [f, g, out, new] = paths;
                let reads = [&f, &g, &out].map(|path| std::fs::read(path).is_ok());
                let made = std::fs::write(&new, "x").is_ok();
                let moved = std::fs::rename(&new, g.with_file_name("h")).is_ok();
                let left = std::fs::write(&out, "x").is_ok();
                let gone = std::fs::remove_file(&out).is_ok();
                let known = crate::owner::Owners::new().user_id(b"root");
                (reads, made, moved, left || gone, known)
            });
            let expected = ([true, true, false], writes, writes, false, Some(0));
            assert_eq!(found, expected, "{writes}");
        }
        assert_eq!(std::fs::read(s.path("out")).unwrap(), b"out");
    }
}
