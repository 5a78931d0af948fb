//! filter wildmatch.
