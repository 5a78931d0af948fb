//! Item flags (`[item-flags]`), and the eleven letters they are shown as.
//!
//! The generator sets the flags, the sender echoes them, and whoever prints turns them into
//! letters.

use std::ops::{BitOr, BitOrAssign};

/// What an item record says of an item. Bits without a name are kept, so that an echo is exact.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct ItemFlags(pub u32);

impl ItemFlags {
    /// Nothing.
    pub const NONE: ItemFlags = ItemFlags(0);
    /// The access time differs.
    pub const REPORT_ATIME: ItemFlags = ItemFlags(0x0001);
    /// The content differs: a file's digest, a symbolic link's target, a device's number.
    pub const REPORT_CHANGE: ItemFlags = ItemFlags(0x0002);
    /// The size of a regular file differs.
    pub const REPORT_SIZE: ItemFlags = ItemFlags(0x0004);
    /// The time of a symbolic link cannot be set; the same bit as [`Self::REPORT_SIZE`].
    pub const REPORT_TIMEFAIL: ItemFlags = ItemFlags(0x0004);
    /// The modification time differs.
    pub const REPORT_TIME: ItemFlags = ItemFlags(0x0008);
    /// The permissions differ.
    pub const REPORT_PERMS: ItemFlags = ItemFlags(0x0010);
    /// The owner differs.
    pub const REPORT_OWNER: ItemFlags = ItemFlags(0x0020);
    /// The group differs.
    pub const REPORT_GROUP: ItemFlags = ItemFlags(0x0040);
    /// The access control lists differ.
    pub const REPORT_ACL: ItemFlags = ItemFlags(0x0080);
    /// The extended attributes differ.
    pub const REPORT_XATTR: ItemFlags = ItemFlags(0x0100);
    /// The creation time differs.
    pub const REPORT_CRTIME: ItemFlags = ItemFlags(0x0400);
    /// A basis type follows.
    pub const BASIS_TYPE_FOLLOWS: ItemFlags = ItemFlags(0x0800);
    /// An extra name follows.
    pub const XNAME_FOLLOWS: ItemFlags = ItemFlags(0x1000);
    /// Nothing, or something of another type, was at the destination.
    pub const IS_NEW: ItemFlags = ItemFlags(0x2000);
    /// The receiving side makes the item by itself.
    pub const LOCAL_CHANGE: ItemFlags = ItemFlags(0x4000);
    /// The content is wanted.
    pub const TRANSFER: ItemFlags = ItemFlags(0x8000);

    /// The protocol does not tell what differs. Beyond the bits that travel.
    pub const UNTOLD: ItemFlags = ItemFlags(0x1_0000);

    /// The bits that tell of a difference.
    const REPORT_ALL: u32 = 0x05ff;

    /// The flags as they came.
    pub fn from_wire(bits: u16) -> ItemFlags {
        ItemFlags(u32::from(bits))
    }

    /// The flags as they travel.
    pub fn wire(self) -> u16 {
        self.0 as u16
    }

    /// Whether all flags of `other` are set.
    pub fn contains(self, other: ItemFlags) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether there is a difference, or something new or wanted: an item to show. What was made
    /// from a copy elsewhere and differs from that in nothing is none.
    pub fn is_reportable(self) -> bool {
        let shown = Self::IS_NEW | Self::TRANSFER;
        self.0 & (Self::REPORT_ALL | shown.0) != 0
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
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct ItemView {
    /// Shown for transferred content: `<` towards a remote side, otherwise `>`.
    pub direction: u8,
    /// The item's mode, of which the type counts.
    pub mode: u32,
    /// Whether times of this kind of item are preserved.
    pub times: bool,
    /// Whether the record has an extra name, which makes an item without transfer a hard link.
    pub hard_linked: bool,
}

/// The type bits of a mode, and two of their values.
const TYPE: u32 = 0o170_000;
const DIRECTORY: u32 = 0o040_000;
const SYMLINK: u32 = 0o120_000;

/// The eleven letters `YXcstpoguax` of an item.
pub fn itemize_string(flags: ItemFlags, view: &ItemView) -> [u8; 11] {
    let kind = match view.mode & TYPE {
        DIRECTORY => b'd',
        SYMLINK => b'L',
        0o060_000 | 0o020_000 => b'D',
        0o010_000 | 0o140_000 => b'S',
        _ => b'f',
    };
    let update = if view.hard_linked && !flags.contains(ItemFlags::TRANSFER) {
        b'h'
    } else if flags.contains(ItemFlags::LOCAL_CHANGE) {
        b'c'
    } else if flags.contains(ItemFlags::TRANSFER) {
        view.direction
    } else {
        b'.'
    };
    let attributes = attribute_letters(flags, kind == b'L', view.times);
    let quiet = matches!(update, b'.' | b'h' | b'c') && attributes == [b'.'; 9];
    let [c, s, t, p, o, g, u, a, x] = if quiet { [b' '; 9] } else { attributes };
    [update, kind, c, s, t, p, o, g, u, a, x]
}

fn attribute_letters(flags: ItemFlags, is_link: bool, times: bool) -> [u8; 9] {
    if flags.contains(ItemFlags::IS_NEW) {
        return [b'+'; 9];
    }
    if flags.contains(ItemFlags::UNTOLD) {
        return [b'?'; 9];
    }
    let letter = |flag, shown| if flags.contains(flag) { shown } else { b'.' };
    let unsettable = is_link && flags.contains(ItemFlags::REPORT_TIMEFAIL);
    [
        letter(ItemFlags::REPORT_CHANGE, b'c'),
        if is_link { b'.' } else { letter(ItemFlags::REPORT_SIZE, b's') },
        letter(ItemFlags::REPORT_TIME, if times && !unsettable { b't' } else { b'T' }),
        letter(ItemFlags::REPORT_PERMS, b'p'),
        letter(ItemFlags::REPORT_OWNER, b'o'),
        letter(ItemFlags::REPORT_GROUP, b'g'),
        match (flags.contains(ItemFlags::REPORT_ATIME), flags.contains(ItemFlags::REPORT_CRTIME)) {
            (true, true) => b'b',
            (true, false) => b'u',
            (false, true) => b'n',
            (false, false) => b'.',
        },
        letter(ItemFlags::REPORT_ACL, b'a'),
        letter(ItemFlags::REPORT_XATTR, b'x'),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: ItemView =
        ItemView { direction: b'>', mode: 0o100_644, times: true, hard_linked: false };

    fn shown(flags: &[ItemFlags], view: ItemView) -> String {
        let flags = flags.iter().fold(ItemFlags::NONE, |all, &flag| all | flag);
        String::from_utf8(itemize_string(flags, &view).to_vec()).unwrap()
    }

    #[test]
    fn the_examples_of_the_reference() {
        use super::ItemFlags as F;
        let dir = ItemView { mode: 0o040_755, ..FILE };
        let link = ItemView { mode: 0o120_777, ..FILE };
        let fifo = ItemView { mode: 0o010_644, ..FILE };
        let hard = ItemView { hard_linked: true, ..FILE };
        let push = ItemView { direction: b'<', ..FILE };
        let untimed = ItemView { times: false, ..FILE };
        let hard_untimed = ItemView { times: false, ..hard };
        let rows: [(&[ItemFlags], ItemView, &str); 16] = [
            (&[F::TRANSFER, F::IS_NEW], FILE, ">f+++++++++"),
            (&[F::TRANSFER, F::IS_NEW], push, "<f+++++++++"),
            (&[F::LOCAL_CHANGE, F::IS_NEW], dir, "cd+++++++++"),
            (&[F::LOCAL_CHANGE, F::IS_NEW, F::REPORT_CHANGE], link, "cL+++++++++"),
            (&[F::LOCAL_CHANGE, F::IS_NEW, F::REPORT_CHANGE], fifo, "cS+++++++++"),
            (&[F::REPORT_TIME], dir, ".d..t......"),
            (&[F::REPORT_PERMS], FILE, ".f...p....."),
            (&[], FILE, ".f         "),
            (&[], link, ".L         "),
            (&[F::LOCAL_CHANGE, F::IS_NEW], hard, "hf+++++++++"),
            (&[], hard, "hf         "),
            (&[F::LOCAL_CHANGE, F::REPORT_SIZE, F::REPORT_TIME], hard_untimed, "hf.sT......"),
            (&[F::TRANSFER, F::REPORT_SIZE, F::REPORT_TIME], untimed, ">f.sT......"),
            (&[F::LOCAL_CHANGE, F::REPORT_CHANGE], link, "cLc........"),
            // A name can also be that of a basis file found for a transfer.
            (&[F::TRANSFER, F::REPORT_SIZE], hard, ">f.s......."),
            (&[F::TRANSFER], FILE, ">f........."),
        ];
        for (flags, view, want) in rows {
            assert_eq!(shown(flags, view), want, "{flags:?}");
        }
    }

    #[test]
    fn every_attribute_has_its_place() {
        use super::ItemFlags as F;
        assert_eq!(shown(&[ItemFlags(0x05ff)], FILE), ".fcstpogbax");
        assert_eq!(shown(&[F::REPORT_ATIME], FILE), ".f......u..");
        assert_eq!(shown(&[F::REPORT_CRTIME], FILE), ".f......n..");
        // The bit of a size means an unsettable time for a symbolic link.
        let link = ItemView { mode: 0o120_777, ..FILE };
        assert_eq!(shown(&[F::REPORT_TIME, F::REPORT_TIMEFAIL], link), ".L..T......");
    }

    #[test]
    fn what_is_to_show() {
        assert!(!ItemFlags::NONE.is_reportable());
        assert!(!(ItemFlags::XNAME_FOLLOWS | ItemFlags::BASIS_TYPE_FOLLOWS).is_reportable());
        assert!(!ItemFlags(0x0200).is_reportable());
        assert!(ItemFlags::REPORT_CRTIME.is_reportable());
        assert!(!ItemFlags::LOCAL_CHANGE.is_reportable());
    }
}
