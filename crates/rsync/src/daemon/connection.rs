//! daemon connection.
