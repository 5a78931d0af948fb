//! The roles that join the wire to the file system.
