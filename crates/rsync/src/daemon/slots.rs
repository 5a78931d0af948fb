//! daemon slots.
