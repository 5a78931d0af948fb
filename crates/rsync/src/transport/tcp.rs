//! transport tcp.
