//! transport pipe.
