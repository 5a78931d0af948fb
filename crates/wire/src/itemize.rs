//! itemize.
