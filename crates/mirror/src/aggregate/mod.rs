//! Events in, one entry for each path out. Pure: time is an argument, nothing is looked at.

pub mod combine;
pub mod queue;
