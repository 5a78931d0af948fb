//! What the two streams of a transfer carry beside sums and tokens.

pub mod goodbye;
pub mod request;
