//! flist flags.
