//! Where the entries of a table stand in the text of a Lua file.
//!
//! Lua tells the line of a call and no more, so the call's table is read once again as text: strings
//! and comments are skipped, brackets counted, and each `name =` of the table itself and of the
//! tables directly in it is noted. A call with a variable instead of a table has no entries here.

/// One entry of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LuaEntry {
    /// Its key, `outer.inner` for one inside an inner table; the whole text of one without a key.
    pub(super) key: String,
    /// Its line, from 1.
    pub(super) line: usize,
    /// Its value as written.
    pub(super) value: String,
    /// It was written `key = value`.
    pub(super) keyed: bool,
}

/// The entries of the table that the function `word` is called with at a line.
pub(super) fn entries(text: &str, line: usize, word: &str) -> Vec<LuaEntry> {
    let mut scan = Scan { text, at: 0, line: 1 };
    // The line of a call is that of its table, which may stand below the function's name.
    let mut above = None;
    while let Some(token) = scan.token() {
        if scan.line > line {
            break;
        }
        if token == word {
            above = Some((scan.at, scan.line));
            if scan.line == line {
                break;
            }
        }
    }
    let Some((at, word_line)) = above else { return Vec::new() };
    (scan.at, scan.line) = (at, word_line);
    loop {
        match scan.token() {
            Some("{") => break,
            Some("(") => {}
            // A variable instead of a table.
            _ => return Vec::new(),
        }
    }
    let mut found = Vec::new();
    scan.table("", &mut found, 0);
    found
}

struct Scan<'t> {
    text: &'t str,
    at: usize,
    line: usize,
}

impl<'t> Scan<'t> {
    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn step(&mut self, bytes: usize) -> &'t str {
        let part = self.rest().get(..bytes).unwrap_or_else(|| self.rest());
        self.line += part.matches('\n').count();
        self.at += part.len();
        part
    }

    /// The length of what begins like `[[` or `[==[` and goes to the like closing bracket.
    fn long_bracket(rest: &str) -> Option<usize> {
        let inner = rest.strip_prefix('[')?;
        let level = inner.len() - inner.trim_start_matches('=').len();
        inner.get(level..)?.strip_prefix('[')?;
        let close = format!("]{}]", "=".repeat(level));
        Some(rest.find(&close).map_or(rest.len(), |at| at + close.len()))
    }

    /// The next token, blanks and comments left out: a word, a string, or one sign.
    fn token(&mut self) -> Option<&'t str> {
        loop {
            let rest = self.rest();
            let blanks = rest.len() - rest.trim_start().len();
            if blanks > 0 {
                self.step(blanks);
            } else if let Some(comment) = rest.strip_prefix("--") {
                let length = match Self::long_bracket(comment) {
                    Some(length) => length + 2,
                    None => rest.find('\n').unwrap_or(rest.len()),
                };
                self.step(length);
            } else {
                break;
            }
        }
        let rest = self.rest();
        let first = rest.chars().next()?;
        let length = match first {
            '"' | '\'' => Self::quoted(rest, first),
            '[' => Self::long_bracket(rest).unwrap_or(1),
            c if c.is_alphanumeric() || c == '_' => rest
                .find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '.'))
                .unwrap_or(rest.len()),
            c => c.len_utf8(),
        };
        Some(self.step(length))
    }

    fn quoted(rest: &str, quote: char) -> usize {
        let mut escaped = false;
        for (at, c) in rest.char_indices().skip(1) {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                c if c == quote || c == '\n' => return at + c.len_utf8(),
                _ => {}
            }
        }
        rest.len()
    }

    /// Reads a table behind its opening bracket.
    fn table(&mut self, outer: &str, found: &mut Vec<LuaEntry>, depth: usize) {
        let mut open: Option<LuaEntry> = None;
        let mut start = self.at;
        let mut nested = 0usize;
        loop {
            let before = self.at;
            let Some(token) = self.token() else { return };
            match token {
                "}" | "," | ";" if nested == 0 => {
                    if let Some(mut entry) = open.take() {
                        let value = self.text.get(start..self.at - token.len());
                        entry.value = value.unwrap_or_default().trim().to_owned();
                        found.push(entry);
                    }
                    start = self.at;
                    if token == "}" {
                        return;
                    }
                }
                "=" if nested == 0 && open.as_ref().is_some_and(|e| !e.keyed) => {
                    if let Some(entry) = &mut open {
                        entry.keyed = true;
                    }
                    start = self.at;
                }
                "{" if nested == 0 && depth == 0 && open.as_ref().is_some_and(|e| e.keyed) => {
                    let key = open.as_ref().map(|e| e.key.clone()).unwrap_or_default();
                    self.table(&key, found, depth + 1);
                }
                "{" | "(" | "function" | "if" | "do" => nested += 1,
                "}" | ")" | "end" => nested = nested.saturating_sub(1),
                word if open.is_none() => {
                    let gap = self.text.get(before..self.at).unwrap_or_default();
                    if start == before {
                        start = self.at - word.len();
                    }
                    debug_assert!(gap.ends_with(word));
                    let dot = if outer.is_empty() { "" } else { "." };
                    open = Some(LuaEntry {
                        key: format!("{outer}{dot}{word}"),
                        line: self.line,
                        value: String::new(),
                        keyed: false,
                    });
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_found_with_their_lines() {
        // A failure would name the wrong line of a mistake.
        let text = "settings {\n  a = 1 }\n-- sync {\nsync {\n default.rsync,\n\
                    \x20source = \"x,y}\", -- no = 3\n --[[ b = 2,\n]] delay = 2 + f(1, 2),\n\
                    \x20rsync = {\n  _extra = { \"-a\", 'b' },\n  bwlimit=200\n },\n insist,\n\
                    \x20action = function(x)\n  local y = 1\n end\n}\nlater = 1\n";
        let found = entries(text, 4, "sync");
        let short: Vec<(&str, usize, &str, bool)> =
            found.iter().map(|e| (e.key.as_str(), e.line, e.value.as_str(), e.keyed)).collect();
        assert_eq!(
            short,
            [
                ("default.rsync", 5, "default.rsync", false),
                ("source", 6, "\"x,y}\"", true),
                ("delay", 8, "2 + f(1, 2)", true),
                ("rsync._extra", 10, "{ \"-a\", 'b' }", true),
                ("rsync.bwlimit", 11, "200", true),
                ("rsync", 9, "{\n  _extra = { \"-a\", 'b' },\n  bwlimit=200\n }", true),
                ("insist", 13, "insist", false),
                ("action", 14, "function(x)\n  local y = 1\n end", true),
            ]
        );
        assert_eq!(entries(text, 1, "settings").len(), 1);
        assert_eq!(entries("sync(x)\n\n\ny = {a=1}\n", 1, "sync"), []);
        assert_eq!(entries("settings{a} sync\n{\nb = 1}", 2, "sync")[0].key, "b");
        assert_eq!(entries("sync{a = 1}\nsync{b = 1}", 2, "sync")[0].key, "b");
        assert_eq!(entries("settings{a} sync({b = 1})", 1, "sync")[0].key, "b");
    }
}
