//! The item record, the same on both streams: index, flags, basis type, name.

use crate::codec::{ByteSource, get_u16, get_vstring, put_u16, put_vstring};
use crate::error::Error;
use crate::exit::ExitCode;
use crate::itemize::ItemFlags;
use crate::limits::NAME_MAX_LEN;
use crate::ndx::NdxWriter;

/// One item record without what follows a wanted file. Source: [item-record].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ItemHead {
    /// Index of the entry, or one below a segment's start for its directory.
    pub ndx: i32,
    /// What differs, what is wanted.
    pub iflags: ItemFlags,
    /// Basis type, when it is not the destination file.
    pub basis: Option<u8>,
    /// Path of the leader of a hard link, or name of a fuzzy basis.
    pub xname: Option<Vec<u8>>,
}

impl ItemHead {
    /// Appends the record.
    pub fn encode(&self, out: &mut Vec<u8>, ndx: &mut NdxWriter) -> Result<(), Error> {
        ndx.put(out, self.ndx);
        put_u16(out, self.iflags.0);
        if self.iflags.contains(ItemFlags::BASIS_TYPE_FOLLOWS) {
            out.push(self.basis.unwrap_or(0x80));
        }
        if self.iflags.contains(ItemFlags::XNAME_FOLLOWS) {
            put_vstring(out, self.xname.as_deref().unwrap_or(b""))?;
        }
        Ok(())
    }

    /// Reads the rest of a record whose index has been read. Errors: a basis type that only
    /// options outside this program's make possible, an over-long name.
    pub fn decode_after_ndx<S: ByteSource>(src: &mut S, ndx: i32) -> Result<ItemHead, S::Error> {
        let iflags = ItemFlags(get_u16(src)?);
        let mut head = ItemHead { ndx, iflags, basis: None, xname: None };
        if iflags.contains(ItemFlags::BASIS_TYPE_FOLLOWS) {
            let basis = src.byte()?;
            if !(0x80..=0x82).contains(&basis) {
                let text = if basis >= 0x83 {
                    "refusing malicious fuzzy operation".to_string()
                } else {
                    format!("invalid basis_dir index: {basis}")
                };
                return Err(Error::misbehaved(ExitCode::Protocol, "item-basis", text).into());
            }
            head.basis = Some(basis);
        }
        if iflags.contains(ItemFlags::XNAME_FOLLOWS) {
            head.xname = Some(get_vstring(src, NAME_MAX_LEN)?);
        }
        Ok(head)
    }
}
