//! Filter rules on the wire: client to server, the first thing after the set-up.
//!
//! The client writes what [`FilterList::encode_for_peer`] chose with [`put_rules`]; the server
//! reads with [`get_rules`] and adds to its list with [`FilterList::add_from_wire`].
//!
//! `[filter-list]` is a run of records, each `[filter-rule-len]` (int32, below 5120) and
//! `[filter-rule]`, ended by a length of 0. The text of a rule is its kind (`-`, `+`, `:`),
//! modifiers in the order `/ ! C n w - + x s r p`, a blank, the pattern. Protocol 29 has no `p`;
//! older ones have no modifiers: a rule is `+ ` and the pattern, or the bare pattern of an exclusion.

use super::list::{FilterList, Item};
use super::parse::{Flaw, Modifiers, Origin, Parsed, parse_rule};
use super::perdir::DirMerge;
use super::rule::{FilterRule, SideMarks};
use super::{FilterError, Side};
use crate::codec::{ByteSource, get_i32, put_i32};
use crate::error::Error;
use crate::exit::ExitCode;
use crate::limits::{FILTER_RULE_MAX, FILTER_RULES_BYTES_MAX};
use crate::version::Protocol;

/// Appends the records and their end mark. [filter-list]
pub fn put_rules(out: &mut Vec<u8>, rules: &[Vec<u8>]) -> Result<(), Error> {
    for rule in rules {
        match i32::try_from(rule.len()) {
            Ok(len) if rule.len() <= FILTER_RULE_MAX => put_i32(out, len),
            _ => {
                let text = format!("a filter rule of {} bytes is too long to send", rule.len());
                return Err(Error::too_big(ExitCode::Protocol, "filter-rule", text));
            }
        }
        out.extend_from_slice(rule);
    }
    put_i32(out, 0);
    Ok(())
}

/// Reads the records up to the end mark. A length out of range and a list that is too long in all
/// exit 22. [filter-list]
pub fn get_rules<S: ByteSource>(src: &mut S) -> Result<Vec<Vec<u8>>, S::Error> {
    let mut rules = Vec::new();
    let mut total = 0_usize;
    loop {
        let len = get_i32(src)?;
        let len = match usize::try_from(len) {
            Ok(0) => return Ok(rules),
            Ok(len) if len <= FILTER_RULE_MAX => len,
            _ => {
                let text = "buffer overflow: recv_rules";
                return Err(Error::malformed(ExitCode::Malloc, "filter-rule-len", text).into());
            }
        };
        total = total.saturating_add(len + size_of::<FilterRule>());
        if total > FILTER_RULES_BYTES_MAX {
            let text = "the list of filter rules is too long";
            return Err(Error::misbehaved(ExitCode::Malloc, "filter-list", text).into());
        }
        rules.push(src.read_vec(len)?);
    }
}

/// A rule's text in an old form. `given`: the user wrote it, rather than `-C` brought it.
///
/// # Errors
/// It says what that form cannot. Exits 2.
fn in_protocol(
    rule: Vec<u8>,
    protocol: Protocol,
    am_sender: bool,
    given: bool,
) -> Result<Vec<u8>, Error> {
    let prefix = rule.iter().position(|&b| b == b' ').map_or(rule.len(), |at| at + 1);
    let (letters, pattern) = rule.split_at(prefix);
    let modern = || {
        let text = "filter rules are too modern for remote rsync.";
        Error::incompatible(ExitCode::Protocol, "filter-rule", text.to_string())
    };
    if protocol.has_perishable_rules() {
        return Ok(rule);
    }
    if letters.contains(&b'p') && am_sender && given {
        return Err(modern());
    }
    // Only the side that a rule acts on is sent it, so that an old form does without the marks.
    let dropped: &[u8] = if protocol.has_rule_modifiers() { b"p" } else { b"psr" };
    let kept: Vec<u8> =
        letters.iter().copied().filter(|letter| !dropped.contains(letter)).collect();
    let rule = [kept.as_slice(), pattern].concat();
    if protocol.has_rule_modifiers() {
        return Ok(rule);
    }
    let ambiguous = pattern.starts_with(b"+ ") || pattern.starts_with(b"- ");
    match kept.as_slice() {
        b"- " if !ambiguous => Ok(pattern.to_vec()),
        b"- " | b"+ " => Ok(rule),
        _ => Err(modern()),
    }
}

impl FilterList {
    /// [`Self::encode_for_peer`] in the form of a protocol. `implied`: rules that options brought
    /// along, which lose what an old form cannot say.
    ///
    /// # Errors
    /// A rule says what that form cannot. Exits 2.
    pub fn encode_in(
        &self,
        protocol: Protocol,
        am_sender: bool,
        implied: &[Vec<u8>],
    ) -> Result<Vec<Vec<u8>>, Error> {
        let mut texts = Vec::new();
        for (at, item) in self.items.iter().enumerate() {
            let by_option = self.by_option.contains(&at);
            let given = !by_option && !matches!(item, Item::Cvs { .. });
            // A sending server knows `-C` by its letter. Elsewhere it has its own rules in an old
            // form, and no file in each directory.
            let merges = matches!(item, Item::DirMerge(_)) && !protocol.has_rule_modifiers();
            if by_option && (!am_sender || merges) {
                continue;
            }
            let spelt_out = match item {
                Item::Cvs { rules, .. } if !am_sender && !protocol.has_rule_modifiers() => {
                    let plain =
                        |rule: &FilterRule| FilterRule { perishable: false, ..rule.clone() };
                    let rules = rules.iter().map(plain);
                    rules.filter_map(|rule| self.encode_rule(&rule, false)).collect()
                }
                item => self.encode_item(item, am_sender),
            };
            for text in spelt_out {
                let given = given && !implied.contains(&text);
                texts.push(in_protocol(text, protocol, am_sender, given)?);
            }
        }
        Ok(texts)
    }

    /// The texts of the rules that the server needs: a sending client gives it the rules that
    /// protect, a receiving client those that hide. [filter-rule]
    ///
    /// Called before the scan, while the list holds just what the user gave. A list made by
    /// [`FilterList::for_module`] never travels.
    pub fn encode_for_peer(&self, am_sender: bool) -> Vec<Vec<u8>> {
        let items = self.items.iter().enumerate();
        let items = items.filter(|(at, _)| am_sender || !self.by_option.contains(at));
        items.flat_map(|(_, item)| self.encode_item(item, am_sender)).collect()
    }

    fn encode_item(&self, item: &Item, am_sender: bool) -> Vec<Vec<u8>> {
        match item {
            Item::Rule(rule) => self.encode_rule(rule, am_sender).into_iter().collect(),
            Item::Cvs { rules, .. } if am_sender => {
                rules.iter().filter_map(|rule| self.encode_rule(rule, true)).collect()
            }
            // The sending server has its own home and environment to complete the list from.
            Item::Cvs { include, mods, .. } => {
                self.encode_cvs(*include, mods).into_iter().collect()
            }
            Item::DirMerge(at) => {
                let merge = self.merges.get(*at);
                let text = merge.and_then(|merge| self.encode_dir_merge(merge, am_sender));
                text.into_iter().collect()
            }
        }
    }

    /// All rules, as lines that say the same again.
    pub fn script_rules(&self) -> Vec<Vec<u8>> {
        let line = |item: &Item| match item {
            Item::Rule(rule) => {
                let mut marks = rule.marks;
                marks.sender |= self.delete_excluded && !marks.any();
                let mods = Modifiers {
                    absolute: rule.absolute,
                    negate: rule.negate,
                    perishable: rule.perishable,
                    xattr: rule.xattr,
                    marks,
                    ..Modifiers::default()
                };
                let kind = if rule.include { b'+' } else { b'-' };
                Some(text(kind, &mods, &rule.pattern.written()))
            }
            Item::Cvs { include, mods, .. } => {
                let kind = if *include { b'+' } else { b'-' };
                Some(text(kind, &Modifiers { cvs: true, ..mods.clone() }, b""))
            }
            Item::DirMerge(at) => {
                self.merges.get(*at).map(|merge| text(b':', &merge.mods, &merge.path))
            }
        };
        self.items.iter().filter_map(line).collect()
    }

    /// The marks a rule travels with; none if it does not concern the peer.
    fn marks_for_peer(&self, mut marks: SideMarks, am_sender: bool) -> Option<SideMarks> {
        let peer = if am_sender { Side::Receiver } else { Side::Sender };
        if !marks.acts_for(peer, self.delete_excluded) {
            return None;
        }
        marks.sender |= self.delete_excluded && !marks.any();
        Some(marks)
    }

    fn encode_rule(&self, rule: &FilterRule, am_sender: bool) -> Option<Vec<u8>> {
        let mods = Modifiers {
            absolute: rule.absolute,
            negate: rule.negate,
            perishable: rule.perishable,
            xattr: rule.xattr,
            marks: self.marks_for_peer(rule.marks, am_sender)?,
            ..Modifiers::default()
        };
        Some(text(if rule.include { b'+' } else { b'-' }, &mods, &rule.pattern.written()))
    }

    fn encode_cvs(&self, include: bool, mods: &Modifiers) -> Option<Vec<u8>> {
        let mods = Modifiers {
            cvs: true,
            xattr: false,
            marks: self.marks_for_peer(mods.marks, false)?,
            ..mods.clone()
        };
        Some(text(if include { b'+' } else { b'-' }, &mods, b""))
    }

    fn encode_dir_merge(&self, merge: &DirMerge, am_sender: bool) -> Option<Vec<u8>> {
        let mods = &merge.mods;
        // A sender gets every per-directory rule, even one marked for receivers. A receiver under
        // --delete-excluded needs those only whose lines can carry marks of their own.
        let delete_excluded = self.delete_excluded && mods.bare.is_some();
        if am_sender && !mods.marks.acts_for(Side::Receiver, delete_excluded) {
            return None;
        }
        Some(text(b':', &Modifiers { xattr: false, ..mods.clone() }, &merge.path))
    }

    /// Adds rules that a client sent. [filter-rule]
    ///
    /// No file is read: a rule that names a file to be read at once is refused, because a client
    /// merges such files itself and would only learn about files of the server.
    pub fn add_from_wire(
        &mut self,
        rules: &[Vec<u8>],
        protocol: Protocol,
    ) -> Result<(), FilterError> {
        for rule in rules {
            let old = !protocol.has_rule_modifiers();
            let bare = old && !rule.starts_with(b"+ ") && !rule.starts_with(b"- ");
            let modern = [if bare { b"- ".as_slice() } else { b"" }, rule].concat();
            let rule = &modern;
            let parsed = parse_rule(rule, &Modifiers::default(), false);
            if matches!(parsed, Ok((Parsed::Merge { per_dir: false, .. }, _))) {
                return Err(Flaw::Unknown.error(&Origin::Argument, rule));
            }
            self.add_rule_text(rule, &Origin::Argument, &mut |_, _| None)?;
        }
        Ok(())
    }
}

fn text(kind: u8, mods: &Modifiers, pattern: &[u8]) -> Vec<u8> {
    let bare = if mods.bare == Some(true) { b'+' } else { b'-' };
    let lines = !mods.cvs;
    let letters = [
        (true, kind),
        (mods.absolute, b'/'),
        (mods.negate, b'!'),
        (mods.cvs, b'C'),
        (lines && mods.no_inherit, b'n'),
        (lines && mods.words, b'w'),
        (lines && mods.bare.is_some(), bare),
        (mods.xattr, b'x'),
        (mods.marks.sender, b's'),
        (mods.marks.receiver, b'r'),
        (mods.perishable, b'p'),
        (true, b' '),
    ];
    let mut text: Vec<u8> =
        letters.iter().filter(|(set, _)| *set).map(|(_, letter)| *letter).collect();
    text.extend_from_slice(pattern);
    text
}

#[cfg(test)]
#[path = "wire_form_tests.rs"]
mod tests;
