//! options table.
