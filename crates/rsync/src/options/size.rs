//! options size.
