//! The item record (`[item]`), the same on both streams.
//!
//! The generator writes it, the sender echoes it. Index, flags, basis type and extra name are
//! here; sums and tokens follow by other modules. A sender believes basis type and name unseen
//! and repeats them; a receiver, who would act on them, checks with [`ItemHead::check_basis`].

use crate::codec::{ByteSource, get_u16, get_vstring, put_u16, put_vstring};
use crate::error::Error;
use crate::exit::ExitCode;
use crate::itemize::ItemFlags;
use crate::limits::NAME_MAX_LEN;
use crate::ndx::NdxWriter;
use crate::version::Protocol;

/// Basis type: the destination file itself. Smaller numbers are alternate basis directories.
pub const BASIS_DEST: u8 = 0x80;
/// Basis type: the file in the partial directory.
pub const BASIS_PARTIAL_DIR: u8 = 0x81;
/// Basis type: the backup copy.
pub const BASIS_BACKUP: u8 = 0x82;
/// Basis type: a similar file of the same directory; 0x84 + i: of basis directory i.
pub const BASIS_FUZZY: u8 = 0x83;

/// The fields of an item record that every record has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ItemHead {
    /// Index of the entry; the one before a segment's first for the segment's directory.
    pub ndx: i32,
    /// What differs and what is wanted. Its two `FOLLOWS` bits say which of the next are there.
    pub iflags: ItemFlags,
    /// `[item-basis]`: the basis type, where it is not the destination file.
    pub basis: Option<u8>,
    /// `[item-xname]`: the path of a hard link's leader (empty where the link is there already),
    /// or the base name of a similar file. At most [`NAME_MAX_LEN`] bytes.
    pub xname: Option<Vec<u8>>,
}

impl ItemHead {
    /// Appends the record. In a protocol without flags it is the index alone, which says that the
    /// content is wanted; any other record has no form there, and nothing is appended.
    pub fn encode(
        &self,
        out: &mut Vec<u8>,
        ndx: &mut NdxWriter,
        protocol: Protocol,
    ) -> Result<(), Error> {
        if !protocol.has_item_flags() {
            if self.iflags.contains(ItemFlags::TRANSFER) {
                ndx.put(out, self.ndx);
            }
            return Ok(());
        }
        ndx.put(out, self.ndx);
        put_u16(out, self.iflags.wire());
        if self.iflags.contains(ItemFlags::BASIS_TYPE_FOLLOWS) {
            out.push(self.basis.unwrap_or(BASIS_DEST));
        }
        if self.iflags.contains(ItemFlags::XNAME_FOLLOWS) {
            put_vstring(out, self.xname.as_deref().unwrap_or_default())?;
        }
        Ok(())
    }

    /// Reads what follows the index, which the caller has read since it can be an end mark. An
    /// over-long extra name exits 2.
    pub fn decode_after_ndx<S: ByteSource>(
        src: &mut S,
        ndx: i32,
        protocol: Protocol,
    ) -> Result<ItemHead, S::Error> {
        let iflags = match protocol.has_item_flags() {
            true => ItemFlags::from_wire(get_u16(src)?),
            false => ItemFlags::TRANSFER | ItemFlags::UNTOLD,
        };
        let mut head = ItemHead { ndx, iflags, basis: None, xname: None };
        if iflags.contains(ItemFlags::BASIS_TYPE_FOLLOWS) {
            head.basis = Some(src.byte()?);
        }
        if iflags.contains(ItemFlags::XNAME_FOLLOWS) {
            head.xname = Some(get_vstring(src, NAME_MAX_LEN)?);
        }
        Ok(head)
    }

    /// As receiver: refuses a basis type that our own generator cannot have asked for, with
    /// `dirs` alternate basis directories and with or without `--fuzzy`. Exits 2.
    pub fn check_basis(&self, dirs: usize, fuzzy: bool) -> Result<(), Error> {
        let text = match self.basis.unwrap_or(BASIS_DEST) {
            BASIS_DEST..=BASIS_BACKUP => return Ok(()),
            BASIS_FUZZY if fuzzy => return Ok(()),
            BASIS_FUZZY => "refusing malicious fuzzy operation".to_string(),
            kind => {
                let dir = if kind > BASIS_FUZZY { kind - BASIS_FUZZY - 1 } else { kind };
                if usize::from(dir) < dirs && (fuzzy || kind < BASIS_DEST) {
                    return Ok(());
                }
                format!("invalid basis_dir index: {dir}")
            }
        };
        Err(Error::misbehaved(ExitCode::Protocol, "item-basis", text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::SliceSource;
    use crate::ndx::NdxReader;

    fn both_ways(head: &ItemHead) -> Vec<u8> {
        let mut out = Vec::new();
        head.encode(&mut out, &mut NdxWriter::new(), Protocol::NEWEST).unwrap();
        let mut src = SliceSource::new(&out);
        let ndx = NdxReader::new().get(&mut src).unwrap();
        assert_eq!(ItemHead::decode_after_ndx(&mut src, ndx, Protocol::NEWEST).as_ref(), Ok(head));
        assert!(src.is_empty());
        out
    }

    #[test]
    fn the_captured_request_is_reproduced() {
        let iflags = ItemFlags::TRANSFER | ItemFlags::REPORT_TIME | ItemFlags::REPORT_SIZE;
        let mut head = ItemHead { ndx: 0, iflags, basis: None, xname: None };
        assert_eq!(both_ways(&head), [0x01, 0x0c, 0x80]);
        head.iflags |= ItemFlags::BASIS_TYPE_FOLLOWS | ItemFlags::XNAME_FOLLOWS;
        head.basis = Some(BASIS_FUZZY);
        head.xname = Some(b"old".to_vec());
        assert_eq!(both_ways(&head), b"\x01\x0c\x98\x83\x03old");
    }

    #[test]
    fn an_echo_keeps_what_it_does_not_know() {
        let head = ItemHead { ndx: 3, iflags: ItemFlags(0x0a00), basis: Some(0x07), xname: None };
        assert_eq!(both_ways(&head), [0x04, 0x00, 0x0a, 0x07]);
    }

    #[test]
    fn an_overlong_name_is_refused() {
        let bytes = [&[0x00, 0x10, 0x90, 0x00][..], &[b'x'; 4096]].concat();
        let error = ItemHead::decode_after_ndx(&mut SliceSource::new(&bytes), 0, Protocol::NEWEST)
            .unwrap_err();
        assert_eq!(error.exit_code(), ExitCode::Protocol);
    }

    #[test]
    fn only_a_basis_we_offer_is_believed() {
        let check = |basis, dirs, fuzzy| {
            let head = ItemHead { ndx: 0, iflags: ItemFlags::TRANSFER, basis, xname: None };
            head.check_basis(dirs, fuzzy).is_ok()
        };
        for basis in [None, Some(BASIS_DEST), Some(BASIS_PARTIAL_DIR), Some(BASIS_BACKUP)] {
            assert!(check(basis, 0, false));
        }
        for (basis, dirs, fuzzy, fine) in [
            (0x00, 0, false, false),
            (0x00, 1, false, true),
            (0x02, 2, false, false),
            (0x83, 0, false, false),
            (0x83, 0, true, true),
            (0x84, 1, false, false),
            (0x84, 1, true, true),
            (0x85, 1, true, false),
            (0xff, 20, true, false),
        ] {
            assert_eq!(check(Some(basis), dirs, fuzzy), fine, "{basis:02x} {dirs} {fuzzy}");
        }
    }

    #[test]
    fn a_record_without_flags_is_a_request() {
        let protocol = Protocol::new(28).unwrap();
        let mut head = ItemHead { ndx: 7, iflags: ItemFlags::TRANSFER, basis: None, xname: None };
        let (mut out, mut ndx) = (Vec::new(), NdxWriter::of(protocol));
        head.encode(&mut out, &mut ndx, protocol).unwrap();
        assert_eq!(out, [7, 0, 0, 0]);
        let mut src = SliceSource::new(&out);
        let index = NdxReader::of(protocol).get(&mut src).unwrap();
        let read = ItemHead::decode_after_ndx(&mut src, index, protocol).unwrap();
        assert_eq!(read.iflags, ItemFlags::TRANSFER | ItemFlags::UNTOLD);
        // What asks for nothing has no form.
        head.iflags = ItemFlags::IS_NEW | ItemFlags::LOCAL_CHANGE;
        head.encode(&mut out, &mut ndx, protocol).unwrap();
        assert_eq!(out.len(), 4);
    }
}
