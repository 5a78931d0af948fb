//! flist encode.
