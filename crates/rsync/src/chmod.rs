//! `--chmod`: rules that change permission bits, parsed once and applied to many modes.
//!
//! The sender applies them to what it lists, a daemon to what it receives. Pure.

use wire::exit::ExitCode;

use crate::fatal::Fatal;

/// Most clauses of all rules together; more is a mistake, and each costs time per file.
const CLAUSES_MAX: usize = 1024;

const SETUID: u32 = 0o4000;
const SETGID: u32 = 0o2000;
const STICKY: u32 = 0o1000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Add,
    Remove,
    Set,
    /// Octal: these bits and no others.
    Exactly,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Clause {
    /// `D` or `F`: directories alone, or all but directories.
    dirs: Option<bool>,
    operation: Operation,
    /// `rwx` bits of those named by `u g o a`; 0 when none is.
    who: u32,
    /// `rwx` as three bits; all twelve for [`Operation::Exactly`].
    bits: u32,
    /// `X`.
    execute_if_any: bool,
    /// Bits of `s` and `t`.
    special: u32,
    /// Shift of the class whose bits are copied (`u=g`).
    copy: Option<u32>,
}

/// A list of rules in order.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ChmodRules {
    clauses: Vec<Clause>,
}

impl ChmodRules {
    /// Reads a comma list of `[DF][ugoa]*[-+=][rwxXst]*`, `[DF][ugoa]*[-+=][ugo]` and
    /// `[DF]OCTAL`; `None` if any of it has another form.
    pub fn parse(text: &[u8]) -> Option<ChmodRules> {
        let clauses: Option<Vec<Clause>> = text.split(|&b| b == b',').map(clause).collect();
        clauses.filter(|c| c.len() <= CLAUSES_MAX).map(|clauses| ChmodRules { clauses })
    }

    /// The rules of all occurrences of the option together; `None` where there is none.
    /// Errors: text that is no rule (exit 1).
    pub fn from_options(texts: &[Vec<u8>]) -> Result<Option<ChmodRules>, Fatal> {
        let mut all: Option<ChmodRules> = None;
        for text in texts {
            let rules = ChmodRules::parse(text).ok_or_else(|| {
                let shown = String::from_utf8_lossy(text);
                Fatal::new(
                    ExitCode::Syntax,
                    format!("Invalid argument passed to --chmod ({shown})"),
                )
            })?;
            match &mut all {
                Some(all) => all.extend(rules),
                None => all = Some(rules),
            }
        }
        Ok(all)
    }

    /// Adds the rules of a further occurrence, which are applied after these.
    pub fn extend(&mut self, later: ChmodRules) {
        self.clauses.extend(later.clauses);
    }

    /// The mode after all rules. Only the low twelve bits change; `umask` limits clauses that name
    /// nobody.
    pub fn apply(&self, mode: u32, is_dir: bool, umask: u32) -> u32 {
        let clauses = self.clauses.iter().filter(|c| c.dirs.is_none_or(|dirs| dirs == is_dir));
        clauses.fold(mode, |mode, clause| clause.apply(mode, is_dir, umask))
    }
}

impl Clause {
    fn apply(&self, mode: u32, is_dir: bool, umask: u32) -> u32 {
        if self.operation == Operation::Exactly {
            return mode & !0o7777 | self.bits;
        }
        let reach = if self.who == 0 { 0o777 & !umask } else { self.who };
        let mut bits = self.copy.map_or(self.bits, |shift| mode >> shift & 7);
        // With `X` an `x` beside it is as conditional.
        if self.execute_if_any {
            bits = bits & !1 | u32::from(is_dir || mode & 0o111 != 0);
        }
        let wanted = (bits | bits << 3 | bits << 6) & reach | self.special;
        match self.operation {
            Operation::Add => mode | wanted,
            Operation::Remove => mode & !wanted,
            _ => mode & !(self.cleared()) | wanted,
        }
    }

    /// What `=` takes away first: the `rwx` of those named (of all, if nobody is), and their
    /// special bits when the clause speaks of special bits or copies.
    fn cleared(&self) -> u32 {
        let special = |class: u32, bit: u32| if self.who & class != 0 { bit } else { 0 };
        let owners = special(0o700, SETUID) | special(0o070, SETGID);
        let rwx = if self.who == 0 { 0o777 } else { self.who };
        rwx | match (self.copy, self.special) {
            (Some(_), _) if self.who == 0 => SETUID | SETGID | STICKY,
            (Some(_), _) => owners | special(0o007, STICKY),
            (None, 0) => 0,
            (None, _) => owners,
        }
    }
}

fn clause(text: &[u8]) -> Option<Clause> {
    let at = text.iter().position(|b| !b"DFugoa".contains(b))?;
    let (subjects, rest) = text.split_at(at);
    let dirs = match (subjects.contains(&b'D'), subjects.contains(&b'F')) {
        (true, true) => return None,
        (false, false) => None,
        (directories, _) => Some(directories),
    };
    let who = subjects.iter().fold(0, |who, subject| {
        who | match subject {
            b'u' => 0o700,
            b'g' => 0o070,
            b'o' => 0o007,
            b'a' => 0o777,
            _ => 0,
        }
    });
    let empty = Clause {
        dirs,
        operation: Operation::Exactly,
        who,
        bits: 0,
        execute_if_any: false,
        special: 0,
        copy: None,
    };
    let (operation, perms) = match rest {
        [b'+', perms @ ..] => (Operation::Add, perms),
        [b'-', perms @ ..] => (Operation::Remove, perms),
        [b'=', perms @ ..] => (Operation::Set, perms),
        _ if who == 0 => return Some(Clause { bits: octal(rest)?, ..empty }),
        _ => return None,
    };
    permissions(perms, Clause { operation, ..empty })
}

fn permissions(perms: &[u8], mut clause: Clause) -> Option<Clause> {
    if let [class @ (b'u' | b'g' | b'o')] = perms {
        clause.copy = Some(match class {
            b'u' => 6,
            b'g' => 3,
            _ => 0,
        });
        return Some(clause);
    }
    for perm in perms {
        match perm {
            b'r' => clause.bits |= 4,
            b'w' => clause.bits |= 2,
            b'x' => clause.bits |= 1,
            b'X' => clause.execute_if_any = true,
            b's' => {
                // Set-group-ID for the group; set-user-ID for everyone else, nobody included.
                if clause.who & 0o070 != 0 {
                    clause.special |= SETGID;
                }
                if clause.who & 0o700 != 0 || clause.who & 0o070 == 0 {
                    clause.special |= SETUID;
                }
            }
            b't' => clause.special |= STICKY,
            _ => return None,
        }
    }
    Some(clause)
}

fn octal(text: &[u8]) -> Option<u32> {
    if text.is_empty() {
        return None;
    }
    let mut value: u32 = 0;
    for &b in text {
        value = value * 8 + char::from(b).to_digit(8)?;
        if value > 0o7777 {
            return None;
        }
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Modes as the reference made them with umask 027: rule, before, after for a file.
    const SEEN: &[(&str, u32, u32)] = &[
        ("u=rwx", 0o4755, 0o4755),
        ("u=s", 0o2711, 0o6011),
        ("o+s", 0o644, 0o4644),
        ("ug+s", 0o644, 0o6644),
        ("=rx", 0o7777, 0o7550),
        ("-w", 0o7777, 0o7577),
        ("ug=rwX", 0o640, 0o660),
        ("ug=rwX", 0o711, 0o771),
        ("a=u", 0o7777, 0o777),
        ("g=u", 0o2711, 0o771),
        ("a=t", 0o7777, 0o1000),
        ("=t", 0o7777, 0o7000),
        ("o=s", 0o1644, 0o5640),
        ("=u", 0o4755, 0o750),
        ("+u", 0o2711, 0o2751),
        ("g=t", 0o2711, 0o1701),
        ("a=", 0o4755, 0o4000),
        ("u=g,g=u", 0o4755, 0o555),
        ("D755", 0o644, 0o644),
        ("F640", 0o4755, 0o640),
        ("u=X", 0o755, 0o155),
        ("g=Xx", 0o644, 0o604),
    ];

    #[test]
    fn modes_as_the_reference_makes_them() {
        for (rule, before, after) in SEEN {
            let rules = ChmodRules::parse(rule.as_bytes()).unwrap();
            assert_eq!(rules.apply(0o100_000 | before, false, 0o027), 0o100_000 | after, "{rule}");
        }
        let rules = ChmodRules::parse(b"D04755,F-x").unwrap();
        assert_eq!(rules.apply(0o40_700, true, 0), 0o44_755);
    }

    #[test]
    fn other_forms_are_refused() {
        for text in [
            "", ",", "bogus", "u", "u+x,", "u+x,,g-w", "D9", "77777", "8", "DF+x", "u=gx", "u=xg",
            "o=+x", "u+x-w", "F=4", "u=4", "x", "u+y", "u+x ", "u755",
        ] {
            assert_eq!(ChmodRules::parse(text.as_bytes()), None, "{text}");
        }
        for text in ["u=", "7777", "0", "+s", "uD+x", "DD+x", "D04755", "a+u", "Fu+x", "+"] {
            assert!(ChmodRules::parse(text.as_bytes()).is_some(), "{text}");
        }
    }
}
