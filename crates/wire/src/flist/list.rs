//! flist list.
