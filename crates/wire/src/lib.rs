//! Everything two rsync peers must agree on: bytes, order, matching, sums and exit codes.
//!
//! This crate is pure. It opens nothing, reads no clock and draws no random number: input comes
//! through [`codec::ByteSource`], output is appended to a byte vector, and times, seeds and
//! challenges are arguments. Nothing a peer says is trusted: each number it can choose has a named
//! bound in [`limits`], and every refusal is an [`error::Error`] that knows who is to blame.

pub mod auth;
pub mod checksum;
pub mod codec;
pub mod delta;
pub mod error;
pub mod exchange;
pub mod exit;
pub mod filter;
pub mod flist;
pub mod greeting;
pub mod handshake;
pub mod itemize;
pub mod limits;
pub mod message;
pub mod mux;
pub mod ndx;
pub mod negotiate;
pub mod proxy_header;
pub mod sum;
pub mod token;
pub mod version;
