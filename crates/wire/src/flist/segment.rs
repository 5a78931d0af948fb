//! flist segment.
