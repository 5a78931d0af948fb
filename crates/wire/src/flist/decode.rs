//! flist decode.
