//! Removing a whole tree, through handles and without recursion on the stack.

use std::io;

use crate::dir::Dir;
use crate::path::{Name, NameBuf};

/// Removes the directory `name` of `dir` with everything in it.
pub fn remove_tree(dir: &Dir, name: &Name) -> io::Result<()> {
    let mut levels = vec![level(dir, name)?];
    while let Some((inner, own, left)) = levels.last_mut() {
        if let Some((item, is_dir)) = left.pop() {
            if is_dir {
                let next = level(&inner.clone(), &item)?;
                levels.push(next);
            } else {
                inner.unlink(&item)?;
            }
            continue;
        }
        let own = own.clone();
        levels.pop();
        levels.last().map_or(dir, |(parent, ..)| parent).rmdir(&own)?;
    }
    Ok(())
}

type Level = (Dir, NameBuf, Vec<(NameBuf, bool)>);

fn level(dir: &Dir, name: &Name) -> io::Result<Level> {
    let inner = dir.open_dir(name)?;
    let left = inner.read_entries()?;
    let left = left.into_iter().map(|item| (item.name.clone(), item.is_dir(&inner))).collect();
    Ok((inner, name.to_owned(), left))
}
