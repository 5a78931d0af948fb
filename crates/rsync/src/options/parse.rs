//! options parse.
