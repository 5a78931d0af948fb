//! filter rule.
