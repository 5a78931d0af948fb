//! exchange.

pub mod request;
pub mod goodbye;
