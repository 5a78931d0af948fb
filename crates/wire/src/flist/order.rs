//! flist order.
