//! Filter rules on the wire: client to server, the first thing after the set-up.
//!
//! The client writes what [`FilterList::encode_for_peer`] chose with [`put_rules`]; the server
//! reads with [`get_rules`] and adds to its list with [`FilterList::add_from_wire`].
//!
//! `[filter-list]` is a run of records, each `[filter-rule-len]` (int32, below 5120) and
//! `[filter-rule]`, ended by a length of 0. The text of a rule is its kind (`-`, `+`, `:`),
//! modifiers in the order `/ ! C n w - + x s r p`, a blank, the pattern. The form is the same in
//! all protocols this program speaks.

use super::list::{FilterList, Item};
use super::parse::{Flaw, Modifiers, Origin, Parsed, parse_rule};
use super::perdir::DirMerge;
use super::rule::{FilterRule, SideMarks};
use super::{FilterError, Side};
use crate::codec::{ByteSource, get_i32, put_i32};
use crate::error::Error;
use crate::exit::ExitCode;
use crate::limits::{FILTER_RULE_MAX, FILTER_RULES_BYTES_MAX};

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

impl FilterList {
    /// The texts of the rules that the server needs: a sending client gives it the rules that
    /// protect, a receiving client those that hide. [filter-rule]
    ///
    /// Called before the scan, while the list holds just what the user gave. A list made by
    /// [`FilterList::for_module`] never travels.
    pub fn encode_for_peer(&self, am_sender: bool) -> Vec<Vec<u8>> {
        let mut texts = Vec::new();
        for item in &self.items {
            match item {
                Item::Rule(rule) => texts.extend(self.encode_rule(rule, am_sender)),
                Item::Cvs { rules, .. } if am_sender => {
                    texts.extend(rules.iter().filter_map(|rule| self.encode_rule(rule, true)));
                }
                // The sending server has its own home and environment to complete the list from.
                Item::Cvs { include, mods, .. } => {
                    texts.extend(self.encode_cvs(*include, mods));
                }
                Item::DirMerge(at) => {
                    let merge = self.merges.get(*at);
                    texts.extend(merge.and_then(|merge| self.encode_dir_merge(merge, am_sender)));
                }
            }
        }
        texts
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
    pub fn add_from_wire(&mut self, rules: &[Vec<u8>]) -> Result<(), FilterError> {
        for rule in rules {
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
