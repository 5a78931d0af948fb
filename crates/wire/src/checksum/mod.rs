//! The two sums of the delta algorithm: a weak rolling one and a strong one.
//!
//! The generator computes both for every basis block ([`crate::sum`]), the sender looks for them
//! in the source file ([`crate::delta`]), and both ends compute a strong sum over the whole file.

pub mod rolling;
pub mod strong;
