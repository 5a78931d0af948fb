//! flist ids.
