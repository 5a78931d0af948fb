//! The records of the transfer conversation.

pub mod goodbye;
pub mod request;
