//! options check.
