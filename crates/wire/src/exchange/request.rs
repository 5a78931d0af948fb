//! exchange request.
