//! options server_args.
