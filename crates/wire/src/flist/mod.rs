//! The file list: entries, their order, their bytes, the segments of incremental recursion.
//!
//! A sender pushes [`entry::Entry`] values through [`encode::Encoder`]; a receiving side gets them
//! from [`decode::Decoder`]. Both keep them in [`list::FileList`]s and number directories in a
//! [`segment::DirTable`].

pub mod acls;
pub mod decode;
pub mod encode;
pub mod entry;
pub mod flags;
pub mod ids;
pub mod list;
pub mod order;
mod rdev;
pub mod segment;
pub mod xattrs;

#[cfg(test)]
mod flist_tests;
