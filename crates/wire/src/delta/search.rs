//! delta search.
