//! daemon session.
