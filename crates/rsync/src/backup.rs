//! Moving the old item aside before it is replaced or deleted.

use std::io;

use tree::dir::Dir;
use tree::meta::Meta;
use tree::path::{Name, NameBuf, RelPath, RelPathBuf};
use tree::root::Root;
use tree::stage::CopyKeeps;
use tree::xattr::XattrHolder;
use wire::exit::ExitCode;

use crate::fatal::{Fatal, errno_text};
use crate::receiving::Receiving;
use crate::report::messages::Role;

/// Where the backup of an item goes.
fn place(recv: &Receiving, dir: &Dir, base: &Name, path: &RelPath) -> io::Result<(Dir, NameBuf)> {
    let mut name = base.as_bytes().to_vec();
    name.extend_from_slice(&recv.opts.suffix);
    let name = NameBuf::new(&name).map_err(|_| io::Error::from_raw_os_error(libc::ENAMETOOLONG))?;
    match recv.backup_root()? {
        // The suffix may make the name of something that the daemon hides.
        None if recv.is_out_of_reach(&[path.as_bytes(), &recv.opts.suffix].concat()) => {
            Err(io::Error::from_raw_os_error(libc::EACCES))
        }
        None => Ok((dir.clone(), name)),
        Some(root) => Ok((backup_parent(recv, &root, path)?, name)),
    }
}

/// The directory of the backup tree that matches the item's own, made where it is missing, with
/// the attributes of the directory it stands for.
fn backup_parent(recv: &Receiving, root: &Root, path: &RelPath) -> io::Result<Dir> {
    let parent = path.parent();
    if let Ok(dir) = root.dir(parent) {
        return Ok(dir);
    }
    let mut so_far = Vec::new();
    let mut at = root.dir(RelPath::new(b".").map_err(|_| invalid())?)?;
    for part in parent.components() {
        if !so_far.is_empty() {
            so_far.push(b'/');
        }
        so_far.extend_from_slice(part.as_bytes());
        match at.mkdir(part, 0o700) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(io::Error::other(Unmade { dir: so_far, error })),
        }
        let next = at.open_dir(part)?;
        if let Ok(twin) = RelPathBuf::new(&so_far)
            && let Ok(original) = recv.root.dir(&twin)
            && let Ok(meta) = original.stat_self()
        {
            let _ = next.chown_self(Some(meta.uid), Some(meta.gid));
            crate::xattrs::copy(recv, &XattrHolder::Itself(&original), &XattrHolder::Itself(&next));
            let _ = next.chmod_self(meta.mode & 0o7777);
        }
        at = next;
    }
    Ok(at)
}

/// A directory for backups that cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
struct Unmade {
    dir: Vec<u8>,
    #[source]
    error: io::Error,
}

fn invalid() -> io::Error {
    io::Error::from_raw_os_error(libc::EINVAL)
}

/// Whether the item is a backup by its name already, which is not backed up again on deletion.
pub fn is_backup(recv: &Receiving, base: &[u8]) -> bool {
    recv.opts.backup_dir.is_none()
        && !recv.opts.suffix.is_empty()
        && base.len() > recv.opts.suffix.len()
        && base.ends_with(&recv.opts.suffix)
}

/// Backs up the item `base` of `dir`. `replaced`: it is about to be renamed over, so a regular
/// file keeps its name until then and the backup is a second link to it.
pub fn back_up(
    recv: &Receiving,
    dir: &Dir,
    base: &Name,
    old: &Meta,
    path: &RelPath,
    replaced: bool,
) -> io::Result<()> {
    if old.is_dir() {
        return Ok(());
    }
    if recv.opts.safe_links && old.is_link() {
        let text = dir.read_link(base)?;
        if crate::symlinks::is_unsafe(&text, path.as_bytes()) {
            if recv.opts.info.symsafe > 0 {
                let name = path.as_bytes();
                let words: [&[u8]; 5] =
                    [b"not backing up unsafe symlink \"", name, b"\" -> \"", &text, b"\"\n"];
                recv.reporter.info(&words.concat());
            }
            return dir.unlink(base);
        }
    }
    let (to, name) = place(recv, dir, base, path)?;
    if let Some(there) = to.lstat(&name)? {
        if there.is_dir() {
            tree::remove::remove_tree(&to, &name)?;
        } else {
            to.unlink(&name)?;
        }
    }
    let linked = replaced && old.is_file() && dir.hard_link(base, &to, &name).is_ok();
    if !linked {
        match dir.rename(base, &to, &name) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(libc::EXDEV) => {
                tree::stage::copy_item(dir, base, &to, &name)?;
                let (from, to) = (XattrHolder::Item(dir, base), XattrHolder::Item(&to, &name));
                crate::xattrs::copy(recv, &from, &to);
                if !replaced {
                    dir.unlink(base)?;
                }
            }
            Err(error) => return Err(error),
        }
    }
    if recv.opts.info.backup > 0 {
        let mut line = b"backed up ".to_vec();
        line.extend_from_slice(path.as_bytes());
        line.extend_from_slice(b" to ");
        if let Some(backup_dir) = &recv.opts.backup_dir {
            line.extend_from_slice(backup_dir);
            line.push(b'/');
        }
        line.extend_from_slice(path.as_bytes());
        line.extend_from_slice(&recv.opts.suffix);
        line.push(b'\n');
        recv.reporter.info(&line);
    }
    Ok(())
}

/// Backs up what a finished file is to replace, if that is wanted. False when it failed, which has
/// been told, and the file must not be replaced.
pub fn make_way(
    recv: &Receiving,
    dir: &Dir,
    old: Option<&Meta>,
    path: &RelPath,
    name: &[u8],
) -> Result<bool, Fatal> {
    let (Some(old), Some(base), true) = (old, path.name(), recv.opts.backup) else {
        return Ok(true);
    };
    let Err(error) = back_up(recv, dir, base, old, path, true) else { return Ok(true) };
    if let Some(fatal) = refused(recv, path, &error) {
        return Err(fatal);
    }
    let shown = recv.shown_path(name);
    recv.reporter.path_error(Role::Receiver, "make_backup", &shown, name, &error);
    Ok(false)
}

/// The end of the run, where the backups would lie behind a symlink that is not followed, or in a
/// directory that cannot be made: what is kept for every file is kept for none.
pub fn refused(recv: &Receiving, path: &RelPath, error: &io::Error) -> Option<Fatal> {
    let dir = recv.opts.backup_dir.as_ref()?;
    if let Some(unmade) = error.get_ref().and_then(|inner| inner.downcast_ref::<Unmade>()) {
        let mut text = [b"backup mkdir ".as_slice(), dir, b"/", &unmade.dir].concat();
        text.extend_from_slice(b" failed: ");
        text.extend_from_slice(errno_text(&unmade.error).as_bytes());
        return Some(Fatal::new(ExitCode::FileIo, text));
    }
    if error.raw_os_error() != Some(libc::ELOOP) || recv.has_backup_root() {
        return None;
    }
    // The end may be told by another thread than this one, which met the symlink.
    recv.reporter.explain_refusal();
    let mut text = b"keep_backup failed: ".to_vec();
    text.extend_from_slice(&recv.reporter.quoted(&recv.shown_path(path.as_bytes())));
    text.extend_from_slice(&[b" -> \"", dir.as_slice(), b"/", path.as_bytes()].concat());
    text.extend_from_slice(&[&recv.opts.suffix, b"\": ".as_slice()].concat());
    text.extend_from_slice(errno_text(error).as_bytes());
    Some(Fatal::new(ExitCode::FileIo, text))
}

/// Tells which directory of backups could not be made, where that is what failed.
pub fn tell_unmade(recv: &Receiving, error: &io::Error) {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Unmade>());
    if let (Some(unmade), Some(dir)) = (inner, &recv.opts.backup_dir) {
        let head = b"rsync: [generator] backup mkdir ".as_slice();
        let tail = format!(" failed: {}", errno_text(&unmade.error));
        recv.reporter.error_line(&[head, dir, b"/", &unmade.dir, tail.as_bytes()].concat());
    }
}

/// Copies the item aside before it is updated in place.
pub fn copy_aside(recv: &Receiving, dir: &Dir, base: &Name, path: &RelPath) -> io::Result<()> {
    let (to, name) = place(recv, dir, base, path)?;
    if to.lstat(&name)?.is_some() {
        to.unlink(&name)?;
    }
    // A file that is renamed keeps what it had; a copy has what files get here.
    let opts = &recv.opts;
    let keeps = CopyKeeps { owner: opts.owner, group: opts.group, times: opts.times };
    tree::stage::copy_content(dir, base, &to, &name, keeps)?;
    crate::xattrs::copy(recv, &XattrHolder::Item(dir, base), &XattrHolder::Item(&to, &name));
    Ok(())
}
