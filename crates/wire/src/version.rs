//! version.
/// Protocol version.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Protocol(u8);
impl Protocol {
    /// Newest.
    pub const NEWEST: Protocol = Protocol(32);
}
