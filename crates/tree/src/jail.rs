//! Giving up the process's reach and rights, and making sure that they are gone.
//!
//! Called by the daemon for each connection and for `--copy-as`. The C library's calls are used,
//! which change every thread of the process; still, call these before any thread starts, so that
//! nothing acts with the old ids meanwhile. Order: root directory, groups, user.

use std::io;
use std::process::ExitStatus;

/// Makes `path` the root of the process and enters it.
pub fn chroot(path: &[u8]) -> io::Result<()> {
    rustix::process::chroot(path)?;
    rustix::process::chdir("/")?;
    Ok(())
}

/// Sets groups, then the user, and checks that neither can be had back.
pub fn drop_to(uid: u32, gid: u32, groups: &[u32]) -> io::Result<()> {
    set_groups(gid, groups)?;
    set_user(uid)
}

/// Sets the group and the supplementary groups.
pub fn set_groups(gid: u32, groups: &[u32]) -> io::Result<()> {
    // SAFETY: the pointer and the length describe the same slice, which lives through the call.
    check(unsafe { libc::setgroups(groups.len(), groups.as_ptr()) })?;
    // SAFETY: takes a number, touches no memory.
    check(unsafe { libc::setgid(gid) })?;
    if rustix::process::getegid().as_raw() != gid || rustix::process::getgid().as_raw() != gid {
        return Err(io::Error::from_raw_os_error(libc::EPERM));
    }
    Ok(())
}

/// Sets the user.
pub fn set_user(uid: u32) -> io::Result<()> {
    // SAFETY: takes a number, touches no memory.
    check(unsafe { libc::setuid(uid) })?;
    let is =
        rustix::process::geteuid().as_raw() == uid && rustix::process::getuid().as_raw() == uid;
    // The saved id shows only by trying to use it.
    // SAFETY: takes a number, touches no memory.
    let regained = uid != 0 && unsafe { libc::setuid(0) } == 0;
    if !is || regained {
        return Err(io::Error::from_raw_os_error(libc::EPERM));
    }
    Ok(())
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A process of its own that this one started.
#[derive(Debug)]
pub struct Child(rustix::process::Pid);

impl Child {
    /// Waits for its end.
    pub fn wait(self) -> io::Result<ExitStatus> {
        use std::os::unix::process::ExitStatusExt;
        loop {
            match rustix::process::waitpid(Some(self.0), rustix::process::WaitOptions::empty()) {
                Ok(Some((_, status))) => return Ok(ExitStatus::from_raw(status.as_raw())),
                Ok(None) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Divides the process: the child in the one that goes on as parent, `None` in the child. Must run
/// before any thread starts.
pub fn divide() -> io::Result<Option<Child>> {
    // SAFETY: the caller has started no threads, so the child has everything it needs.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        pid => Ok(rustix::process::Pid::from_raw(pid).map(Child)),
    }
}

/// Runs `work` in a child, which ends with the status that it gives. Must run before any thread
/// starts.
pub fn in_child(work: impl FnOnce() -> i32) -> io::Result<Child> {
    match divide()? {
        Some(child) => Ok(child),
        None => {
            let status = work();
            // SAFETY: ends this process at once; buffers it shares with the parent are not
            // flushed a second time.
            unsafe { libc::_exit(status) }
        }
    }
}

/// Lets go of standard input and output.
pub fn leave_stdio() -> io::Result<()> {
    let null = open_null()?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    Ok(())
}

fn open_null() -> io::Result<std::os::fd::OwnedFd> {
    let flags = rustix::fs::OFlags::RDWR;
    Ok(rustix::fs::open(c"/dev/null", flags, rustix::fs::Mode::empty())?)
}

/// Leaves the terminal: forks, ends the parent, starts a session of its own. Must run before any
/// thread starts.
pub fn detach() -> io::Result<()> {
    // SAFETY: the caller has started no threads, so the child has everything it needs.
    match unsafe { libc::fork() } {
        -1 => return Err(io::Error::last_os_error()),
        0 => {}
        // SAFETY: ends this process at once, without running what the child still needs.
        _ => unsafe { libc::_exit(0) },
    }
    rustix::process::setsid()?;
    leave_stdio()?;
    rustix::stdio::dup2_stderr(&open_null()?)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::path::RelPath;
    use crate::root::Root;
    use crate::scratch::{Scratch, bytes, name};

    const DIR: &str = "TREE_JAIL_TEST";

    /// Runs one ignored test of this module in a process of its own, since it gives up rights.
    fn child(test: &str, dir: &std::path::Path) {
        let done = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", &format!("jail::tests::{test}")])
            .env(DIR, dir)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        assert!(done.status.success() && said.contains("1 passed"), "{said}");
    }

    #[test]
    fn rights_are_gone_after_a_drop() {
        if crate::owner::am_root() {
            child("inside_dropped", &Scratch::new().path(""));
        }
    }

    #[test]
    fn work_goes_on_in_a_bare_root() {
        if crate::owner::am_root() {
            let s = Scratch::new();
            std::fs::write(s.path("f"), b"x").unwrap();
            std::os::unix::fs::symlink("/f", s.path("link")).unwrap();
            child("inside_bare_root", &s.path(""));
            assert!(s.path("made").is_dir());
        }
    }

    #[test]
    #[ignore = "run as a child process by `rights_are_gone_after_a_drop`"]
    fn inside_dropped() {
        drop_to(65_534, 65_533, &[65_533, 44]).unwrap();
        assert!(!crate::owner::am_root());
        assert!(crate::owner::in_group(44) && !crate::owner::in_group(0));
        assert!(set_user(0).is_err() && set_groups(0, &[]).is_err());
        assert!(set_user(u32::MAX).is_err());

        // An unprivileged owner works on what its own modes lock.
        let s = Scratch::new();
        let top = s.root().top().clone();
        top.mkdir(name("d"), 0o700).unwrap();
        let dir = top.open_dir(name("d")).unwrap();
        dir.create_new(name("f"), 0o600).unwrap();
        dir.chmod(name("f"), 0o400).unwrap();
        dir.open_write(name("f"), false).unwrap();
        assert_eq!(dir.lstat(name("f")).unwrap().unwrap().mode & 0o7777, 0o400);
        dir.chmod_self(0).unwrap();
        assert!(dir.lstat(name("f")).is_err());
        dir.set_times_self(crate::attrs::Times::modified(5, 6)).unwrap();
        assert_eq!(dir.stat_self().unwrap().mtime, 5);
        dir.chmod_self(0o111).unwrap();
        assert!(dir.read_entries().is_err());
        assert!(dir.lstat(name("f")).unwrap().is_some());
        crate::remove::remove_tree(&top, name("d")).unwrap();
    }

    #[test]
    #[ignore = "run as a child process by `work_goes_on_in_a_bare_root`"]
    fn inside_bare_root() {
        let before = crate::owner::umask();
        let dir = std::env::var_os(DIR).unwrap();
        chroot(bytes(dir.as_ref())).unwrap();
        assert!(!std::path::Path::new("/proc").exists());
        assert_eq!(crate::owner::umask(), before);
        let root = Root::open_trusted(b"/").unwrap();
        let top = root.dir(RelPath::top()).unwrap();
        top.chmod(name("f"), 0o641).unwrap();
        assert_eq!(top.lstat(name("f")).unwrap().unwrap().mode & 0o7777, 0o641);
        assert_eq!(top.chmod(name("link"), 0o777).unwrap_err().raw_os_error(), Some(libc::ELOOP));
        top.mknod(name("p"), 0o010_600, (0, 0)).unwrap();
        top.chmod(name("p"), 0o604).unwrap();
        assert_eq!(top.lstat(name("p")).unwrap().unwrap().mode & 0o7777, 0o604);
        top.mkdir(name("made"), 0o700).unwrap();
        top.open_dir(name("made")).unwrap().chmod_self(0o750).unwrap();
    }
}
