//! checksum strong.
