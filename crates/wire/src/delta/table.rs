//! delta table.
