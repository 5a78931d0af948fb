//! Wildcards in the paths that a client asks for, where no shell replaces them.
//!
//! Called by the daemon's text phase and by a server whose words came through the connection.

use wire::limits::DAEMON_ARGS_MAX;

use crate::daemon::glob;
use crate::scan::SourceStart;

/// Replaces the wildcards of a path component by component; without a match, the path itself.
/// `None` for more than a connection may ask for.
pub fn expand(
    path: &[u8],
    list: &dyn Fn(&[u8]) -> Vec<Vec<u8>>,
    exists: &dyn Fn(&[u8]) -> bool,
) -> Option<Vec<Vec<u8>>> {
    if !glob::is_pattern(path) {
        return Some(vec![path.to_vec()]);
    }
    let mut found: Vec<Vec<u8>> = vec![Vec::new()];
    for (index, part) in path.split(|b| *b == b'/').enumerate() {
        let join = |parent: &[u8], name: &[u8]| match index {
            0 => name.to_vec(),
            _ => [parent, name].join(&b'/'),
        };
        let mut next = Vec::new();
        for parent in &found {
            if !glob::is_pattern(part) {
                next.push(join(parent, part));
            } else {
                let here: &[u8] = if index == 0 { b"." } else { parent };
                let names = list(here).into_iter().filter(|name| glob::matches(part, name));
                next.extend(names.map(|name| join(parent, &name)).filter(|path| exists(path)));
            }
            if next.len() > DAEMON_ARGS_MAX {
                return None;
            }
        }
        found = next;
    }
    found.retain(|path| exists(path));
    if found.is_empty() { Some(vec![path.to_vec()]) } else { Some(found) }
}

/// Words that came through the connection, with the wildcards that a shell would have replaced. A
/// daemon has done so.
pub fn without_shell(start: &SourceStart, paths: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let SourceStart::Operator { .. } = start else { return paths };
    let dir = |path: &[u8]| start.open(if path.is_empty() { b"/" } else { path }, true);
    let list = |path: &[u8]| -> Vec<Vec<u8>> {
        let items = dir(path).and_then(|root| root.top().read_entries()).unwrap_or_default();
        items.into_iter().map(|item| item.name.as_bytes().to_vec()).collect()
    };
    let exists = |path: &[u8]| {
        let path = path.strip_suffix(b"/").unwrap_or(path);
        let (above, name) = match path.iter().rposition(|b| *b == b'/') {
            Some(at) => path.split_at(at),
            None => (b".".as_slice(), path),
        };
        let name = tree::path::Name::new(name.strip_prefix(b"/").unwrap_or(name));
        let found =
            dir(above).and_then(|root| root.top().lstat(name.map_err(std::io::Error::other)?));
        found.is_ok_and(|found| found.is_some())
    };
    let expand =
        |path: Vec<u8>| expand(&path, &list, &exists).unwrap_or_else(|| vec![path.clone()]);
    paths.into_iter().flat_map(expand).collect()
}

#[cfg(test)]
mod tests {
    use super::expand;

    fn words(text: &str) -> Vec<Vec<u8>> {
        text.split(' ').map(|w| w.as_bytes().to_vec()).collect()
    }

    #[test]
    fn wildcards_become_what_is_there() {
        let list = |dir: &[u8]| match dir {
            b"." => words("b a .dot"),
            b"a" => words("x1 x2"),
            _ => Vec::new(),
        };
        let exists = |path: &[u8]| path != b"a/x2";
        let replaced = |path: &[u8]| expand(path, &list, &exists).unwrap();
        assert_eq!(replaced(b"*"), words("b a .dot"));
        assert_eq!(replaced(b"[a]/x?"), words("a/x1"));
        assert_eq!(replaced(b"none*"), words("none*"));
        assert_eq!(replaced(b"?/"), words("b/ a/"));
    }
}
