//! Giving up the process's reach and rights, and making sure that they are gone.
//!
//! Must be called before any thread starts: ids are then those of the whole process.

use std::ffi::CString;
use std::io;

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
    let is = rustix::process::geteuid().as_raw() == uid && rustix::process::getuid().as_raw() == uid;
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
    let null = CString::new("/dev/null").map_err(io::Error::other)?;
    let flags = rustix::fs::OFlags::RDWR;
    let null = rustix::fs::open(null.as_c_str(), flags, rustix::fs::Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    Ok(())
}
