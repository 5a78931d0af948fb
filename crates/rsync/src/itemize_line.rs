//! The eleven letters of an item under the options of a run.

use wire::flist::list::EntryView;
use wire::itemize::{ItemFlags, ItemView, itemize_string};

use crate::options::Options;

/// The letters of an item record.
pub fn letters(opts: &Options, flags: ItemFlags, view: &EntryView<'_>, direction: u8) -> [u8; 11] {
    let hard_linked = flags.contains(ItemFlags::XNAME_FOLLOWS);
    let (mode, times) = (view.mode(), opts.times);
    itemize_string(flags, &ItemView { direction, mode, times, hard_linked })
}
