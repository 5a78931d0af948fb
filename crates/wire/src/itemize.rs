//! Item flags, and the eleven letters they are shown as.

use std::ops::{BitOr, BitOrAssign};

/// The flags of an item record. Source: [item-flags].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ItemFlags(pub u16);

impl ItemFlags {
    /// No flag.
    pub const NONE: ItemFlags = ItemFlags(0);
    /// Access time differs.
    pub const REPORT_ATIME: ItemFlags = ItemFlags(1);
    /// Content or value differs.
    pub const REPORT_CHANGE: ItemFlags = ItemFlags(2);
    /// Size differs.
    pub const REPORT_SIZE: ItemFlags = ItemFlags(4);
    /// Modification time differs.
    pub const REPORT_TIME: ItemFlags = ItemFlags(8);
    /// Permissions differ.
    pub const REPORT_PERMS: ItemFlags = ItemFlags(0x10);
    /// Owner differs.
    pub const REPORT_OWNER: ItemFlags = ItemFlags(0x20);
    /// Group differs.
    pub const REPORT_GROUP: ItemFlags = ItemFlags(0x40);
    /// ACL differs.
    pub const REPORT_ACL: ItemFlags = ItemFlags(0x80);
    /// Extended attributes differ.
    pub const REPORT_XATTR: ItemFlags = ItemFlags(0x100);
    /// Creation time differs.
    pub const REPORT_CRTIME: ItemFlags = ItemFlags(0x400);
    /// A basis type follows.
    pub const BASIS_TYPE_FOLLOWS: ItemFlags = ItemFlags(0x800);
    /// A name follows.
    pub const XNAME_FOLLOWS: ItemFlags = ItemFlags(0x1000);
    /// Nothing was there.
    pub const IS_NEW: ItemFlags = ItemFlags(0x2000);
    /// Made or changed by the receiving side itself.
    pub const LOCAL_CHANGE: ItemFlags = ItemFlags(0x4000);
    /// Data is wanted.
    pub const TRANSFER: ItemFlags = ItemFlags(0x8000);

    const REPORTED: u16 = 0x5ff;

    /// Whether all flags of `other` are set.
    pub fn contains(self, other: ItemFlags) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether there is a difference, a creation or a local change to tell of.
    pub fn is_reportable(self) -> bool {
        self.0 & (Self::REPORTED | Self::IS_NEW.0 | Self::LOCAL_CHANGE.0 | Self::TRANSFER.0) != 0
    }
}

impl BitOr for ItemFlags {
    type Output = ItemFlags;
    fn bitor(self, other: ItemFlags) -> ItemFlags {
        ItemFlags(self.0 | other.0)
    }
}

impl BitOrAssign for ItemFlags {
    fn bitor_assign(&mut self, other: ItemFlags) {
        self.0 |= other.0;
    }
}

/// What the letters depend on beside the flags.
#[derive(Clone, Copy, Debug)]
pub struct ItemView {
    /// `<` towards a remote side, `>` otherwise.
    pub direction: u8,
    /// File type bits of the mode.
    pub mode: u32,
    /// Whether times of this kind of item are preserved.
    pub times: bool,
    /// Whether the item is a link to another item of the transfer.
    pub hard_linked: bool,
}

/// The eleven letters `YXcstpoguax`.
pub fn itemize_string(flags: ItemFlags, view: &ItemView) -> [u8; 11] {
    let has = |flag: ItemFlags| flags.contains(flag);
    let is_link = view.mode & 0o170_000 == 0o120_000;
    let mut out = *b"...........";
    out[0] = if has(ItemFlags::LOCAL_CHANGE) {
        if view.hard_linked { b'h' } else { b'c' }
    } else if has(ItemFlags::TRANSFER) {
        view.direction
    } else if view.hard_linked {
        b'h'
    } else {
        b'.'
    };
    out[1] = match view.mode & 0o170_000 {
        0o040_000 => b'd',
        0o120_000 => b'L',
        0o060_000 | 0o020_000 => b'D',
        0o010_000 | 0o140_000 => b'S',
        _ => b'f',
    };
    if has(ItemFlags::IS_NEW) {
        out[2..].fill(b'+');
        return out;
    }
    let mut letter = |at: usize, flag: ItemFlags, shown: u8| {
        if has(flag) {
            out[at] = shown;
        }
    };
    letter(2, ItemFlags::REPORT_CHANGE, b'c');
    if !is_link {
        letter(3, ItemFlags::REPORT_SIZE, b's');
    }
    let unsettable = is_link && has(ItemFlags::REPORT_SIZE);
    letter(4, ItemFlags::REPORT_TIME, if view.times && !unsettable { b't' } else { b'T' });
    letter(5, ItemFlags::REPORT_PERMS, b'p');
    letter(6, ItemFlags::REPORT_OWNER, b'o');
    letter(7, ItemFlags::REPORT_GROUP, b'g');
    letter(8, ItemFlags::REPORT_ATIME, b'u');
    letter(8, ItemFlags::REPORT_CRTIME, b'n');
    letter(8, ItemFlags::REPORT_ATIME | ItemFlags::REPORT_CRTIME, b'b');
    letter(9, ItemFlags::REPORT_ACL, b'a');
    letter(10, ItemFlags::REPORT_XATTR, b'x');
    if matches!(out[0], b'.' | b'h' | b'c') && out[2..].iter().all(|&b| b == b'.') {
        out[2..].fill(b' ');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_examples() {
        let file = ItemView { direction: b'>', mode: 0o100_644, times: true, hard_linked: false };
        let dir = ItemView { mode: 0o040_755, ..file };
        let link = ItemView { mode: 0o120_777, ..file };
        let hard = ItemView { hard_linked: true, ..file };
        let new = ItemFlags::IS_NEW;
        for (flags, view, text) in [
            (ItemFlags::TRANSFER | new, &file, b">f+++++++++"),
            (ItemFlags::LOCAL_CHANGE | new, &dir, b"cd+++++++++"),
            (ItemFlags::LOCAL_CHANGE | new | ItemFlags::REPORT_CHANGE, &link, b"cL+++++++++"),
            (ItemFlags::REPORT_TIME, &dir, b".d..t......"),
            (ItemFlags::REPORT_PERMS, &file, b".f...p....."),
            (ItemFlags::NONE, &file, b".f         "),
            (ItemFlags::LOCAL_CHANGE | new, &hard, b"hf+++++++++"),
            (ItemFlags::NONE, &hard, b"hf         "),
        ] {
            assert_eq!(&itemize_string(flags, view), text);
        }
    }
}
