//! checksum rolling.
