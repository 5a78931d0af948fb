//! flist entry.
