//! Says which rule decides about a name, in words that may be shown to anybody.
//!
//! Called by the roles where the user asked why something is left out. The text of a rule that
//! came from a file is not shown: whoever may run a transfer need not be one who may read the file.

use super::Side;
use super::list::{FilterList, Item};
use super::rule::{FilterRule, Subject};

/// The rule that decides about a name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Explained {
    /// Whether it includes the name.
    pub includes: bool,
    /// The rule's pattern, or that it came from a file; and the kind of list it stands in.
    pub rule: Vec<u8>,
}

impl FilterList {
    /// As [`FilterList::check`], or with `perishing` as [`FilterList::check_for_delete`], with the
    /// rule that decides.
    pub fn explain(
        &self,
        name: &[u8],
        is_dir: bool,
        side: Side,
        perishing: bool,
    ) -> Option<Explained> {
        if name == b"." {
            return None;
        }
        let subject = Subject::new(name, is_dir, &self.root);
        let decides = |rule: &FilterRule| self.decides(rule, &subject, side, perishing);
        let (rule, list) = self.find_in(&self.items, b"", &decides)?;
        let mut text = match rule.from_file {
            true => b"<rule from a file read earlier>".to_vec(),
            false => rule.pattern.written(),
        };
        text.extend_from_slice(&list);
        Some(Explained { includes: rule.includes(), rule: text })
    }

    fn find_in<'a>(
        &'a self,
        items: &'a [Item],
        list: &[u8],
        decides: &dyn Fn(&FilterRule) -> bool,
    ) -> Option<(&'a FilterRule, Vec<u8>)> {
        items.iter().find_map(|item| match item {
            Item::Rule(rule) => decides(rule).then(|| (rule, list.to_vec())),
            Item::Cvs { rules, .. } => {
                let rule = rules.iter().find(|rule| decides(rule))?;
                Some((rule, b" [global CVS]".to_vec()))
            }
            Item::DirMerge(at) => {
                let merge = self.merges.get(*at)?;
                let list = [b" [per-dir ".as_slice(), &merge.name, b"]"].concat();
                merge.layers.iter().rev().find_map(|layer| self.find_in(layer, &list, decides))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::{Origin, Syntax};

    #[test]
    fn a_rule_is_told_by_its_pattern_unless_it_came_from_a_file() {
        let mut list = FilterList::new();
        let mut add = |rule: &[u8]| {
            list.add_rule_text(rule, &Origin::Argument, &mut |_, file| {
                (file == b"rules").then(|| b"- secret\n".to_vec())
            })
            .unwrap();
        };
        for rule in [b"- sub/".as_slice(), b"+s a", b"-! b*", b". rules", b": .f", b"-C"] {
            add(rule);
        }
        list.set_root(b"/r");
        list.set_side(Side::Sender);
        list.enter_dir(b".", &mut |_, file| (file == b".f").then(|| b"- bz\n".to_vec())).unwrap();
        let told = |name: &[u8], is_dir, side| {
            let told = list.explain(name, is_dir, side, false)?;
            assert_eq!(list.check(name, is_dir, side), Some(told.includes));
            Some((told.includes, String::from_utf8(told.rule).unwrap()))
        };
        let rule = |includes, text: &str| Some((includes, text.to_owned()));
        assert_eq!(told(b"x/sub", true, Side::Sender), rule(false, "sub/"));
        assert_eq!(told(b"a", false, Side::Sender), rule(true, "a"));
        assert_eq!(told(b"a", false, Side::Receiver), rule(false, "b*"));
        assert_eq!(
            told(b"bz", false, Side::Sender),
            rule(false, "<rule from a file read earlier> [per-dir .f]")
        );
        assert_eq!(told(b"b.o", false, Side::Sender), rule(false, "*.o [global CVS]"));
        assert_eq!(told(b".", true, Side::Sender), None);
        let mut list = FilterList::new();
        list.add_lines(b"- x\n", Syntax::Filter, b"file", &mut |_, _| None).unwrap();
        let told = list.explain(b"x", false, Side::Sender, false).unwrap();
        assert_eq!(told.rule, b"<rule from a file read earlier>");
    }
}
