//! transport remote_shell.
