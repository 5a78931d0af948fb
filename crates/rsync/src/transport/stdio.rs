//! transport stdio.
