//! flist.

pub mod entry;
pub mod flags;
pub mod order;
pub mod encode;
pub mod decode;
pub mod list;
pub mod segment;
pub mod ids;
