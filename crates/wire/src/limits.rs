//! Bounds on everything a peer can make grow, with unit and reason.
//!
//! A decoder compares with a constant of this file and with nothing else. Where the reference
//! program has a bound it is the same one, so that neither side refuses what the other sends.

use std::sync::atomic::{AtomicU64, Ordering};

/// Most bytes that one thing a peer makes grow may take, unless `--max-alloc` says otherwise: what
/// the reference program allocates at most at once.
pub const OBJECT_MAX: u64 = 1 << 30;

/// The cap in force. A process serves one command line, which sets it before anything is read.
static OBJECT: AtomicU64 = AtomicU64::new(OBJECT_MAX);

/// The cap on any one object, in bytes: [`OBJECT_MAX`], or what was set.
pub fn object_max() -> u64 {
    OBJECT.load(Ordering::Relaxed)
}

/// Sets the cap on any one object of this process, in bytes.
pub fn set_object_max(bytes: u64) {
    OBJECT.store(bytes, Ordering::Relaxed);
}

/// Whether `bytes` are more than one object may take.
pub fn too_big(bytes: usize) -> bool {
    u64::try_from(bytes).map_or(true, |bytes| bytes > object_max())
}

// Primitives and names.

/// Longest vstring that its two length bytes can express, in bytes.
pub const VSTRING_WIRE_MAX: usize = 0x7fff;

/// Longest path or name that may travel, in bytes: one less than PATH_MAX, which counts a NUL.
pub const NAME_MAX_LEN: usize = 4095;

/// Longest symbolic link target, in bytes: one less than PATH_MAX.
pub const LINK_TARGET_MAX: usize = 4095;

/// Longest user or group name in an id list, in bytes: its length travels as one byte.
pub const ID_NAME_MAX: usize = 255;

// Set-up and daemon text phase.

/// Smallest version number that a peer can have; less is not rsync speaking.
pub const PEER_PROTOCOL_MIN: i32 = 20;

/// Greatest version number believed; more is not rsync speaking.
pub const PEER_PROTOCOL_MAX: i32 = 40;

/// Longest list of names in the string negotiation, in bytes: upstream's buffer of 256 less its
/// NUL.
pub const NEGOTIATION_MAX: usize = 255;

/// Longest greeting, and any other line a daemon sends before the session, in bytes.
pub const GREETING_MAX: usize = 5119;

/// Longest line in which a client names its module, in bytes.
pub const MODULE_LINE_MAX: usize = 1023;

/// Longest line of a daemon's text phase that is not one of the others, in bytes.
pub const DAEMON_LINE_MAX: usize = 5119;

/// Most words in the argument list that a client sends to a daemon.
pub const DAEMON_ARGS_MAX: usize = 16_000;

/// Longest word of that list, in bytes; longer ones are cut.
pub const DAEMON_ARG_LEN_MAX: usize = 5119;

/// Most bytes of early input a client may hand to a daemon's early command.
pub const EARLY_INPUT_MAX: usize = 5120;

/// Longest time one phase before the session may take, in seconds.
pub const HANDSHAKE_SECONDS_MAX: u32 = 60;

// Frames and messages.

/// Longest text or name in a message, in bytes; upstream's readers reserve 5120.
pub const MESSAGE_TEXT_MAX: usize = 5119;

/// Longest timeout that a daemon may impose on a client, in seconds: one day.
pub const TIMEOUT_MAX_S: u32 = 86_400;

/// The bits of an I/O error word that have a meaning; all others are dropped.
pub const IO_ERROR_MASK: i32 = 7;

// Transfer and goodbye.

/// Greatest number of deletions of one kind in the statistics.
pub const DEL_COUNT_MAX: u32 = 1 << 28;

/// Items a receiving side may confirm before the sender has dealt with them. A sender deals with
/// them each time it has read, so only what one read brings waits.
pub const SUCCESSES_MAX: usize = 1 << 20;

/// Most alternate basis directories.
pub const BASIS_DIRS_MAX: usize = 20;

// Filters.

/// Longest filter rule on the wire, in bytes; upstream's readers reserve 5120.
pub const FILTER_RULE_MAX: usize = 5119;

/// Longest file of filter rules that is read, in bytes, so that a device or an endless file in
/// the place of one ends.
pub const MERGE_FILE_MAX: usize = 16 * 1024 * 1024;

// Roles.

/// Longest digest, in bytes.
pub const DIGEST_MAX: usize = 20;

/// Longest line of a secrets file, in bytes.
pub const SECRET_LINE_MAX: usize = 1023;

/// Longest password, in bytes.
pub const PASSWORD_MAX: usize = 511;

/// Longest answer to a challenge, in bytes: user, blank, digest.
pub const AUTH_LINE_MAX: usize = 1023;

// Access control lists.

/// Most named entries of one list.
pub const ACL_ENTRIES_MAX: usize = 65_536;

// Extended attributes.

/// Most attributes of one entry.
pub const XATTR_COUNT_MAX: usize = 65_536;

/// Longest name of an attribute, in bytes, with the NUL it travels with.
pub const XATTR_NAME_MAX: usize = 4096;

/// Longest value of an attribute, in bytes.
pub const XATTR_VALUE_MAX: usize = 128 << 20;

/// Values of one list of attributes, in bytes altogether.
pub const XATTR_LIST_BYTES_MAX: usize = 512 << 20;

/// Longest value that travels with the list, in bytes; longer ones are asked for.
pub const XATTR_FULL_MAX: usize = 32;

// Sums and tokens.

/// Longest block of a basis, in bytes. A peer may choose any length up to this, and the sender's
/// windows and the receiver's buffers hold one block. Beyond: exit 2.
pub const BLOCK_LEN_MAX: u32 = 131_072;

/// The same below protocol 30. Beyond: exit 2.
pub const OLD_BLOCK_LEN_MAX: u32 = 1 << 29;

/// Longest piece of literal data we send, in bytes; older readers reserve no more.
pub const LITERAL_SEND_MAX: usize = 32_768;

/// Longest piece of literal data handed on at once, in bytes, whatever length was announced or
/// however far it expands. Longer data comes in several pieces.
pub const LITERAL_PIECE_MAX: usize = 65_536;

/// Longest data piece of a compressed token stream, in bytes: what 14 bits can say.
pub const DATA_PIECE_MAX: usize = 16_383;

/// Highest block index in a compressed token stream, which must leave room for its successor in a
/// signed int. Beyond: exit 2.
pub const TOKEN_INDEX_MAX: u32 = i32::MAX as u32 - 1;

/// Largest zstd window a peer may make us hold, as a power of two in bytes (128 MiB): what the
/// highest compression level uses. Beyond: exit 12.
pub const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// Threads that zstd may compress in: what the library takes on the machines of today.
pub const ZSTD_WORKERS_MAX: u32 = 64;

/// Blocks of equal weak sum tried at one offset of the source. A peer may send any number of
/// them; beyond, the offset counts as one without a match.
pub const EQUAL_WEAK_MAX: usize = 1024;

/// Bytes hashed in vain for each byte of a source file before the search gives up and the rest is
/// sent as literal data; grows by one for each 256 MiB of basis, up to the maximum. A peer that
/// chooses its sums well would otherwise make us hash a whole block at each offset.
pub const SEARCH_WORK_FACTOR: u64 = 16;
/// Greatest value of [`SEARCH_WORK_FACTOR`] for any basis.
pub const SEARCH_WORK_FACTOR_MAX: u64 = 64;
/// Bytes hashed in vain that any file is granted beside that, so that chance does not matter.
pub const SEARCH_WORK_BASE: u64 = 1 << 20;
/// What looking at one candidate costs, in bytes hashed.
pub const SEARCH_WORK_CANDIDATE: u64 = 16;

// Filter rules.

/// Longest pattern or file name in a filter rule, in bytes; upstream drops longer ones with a
/// warning, and no path that travels could match them.
pub const FILTER_PATTERN_MAX: usize = 4095;

/// Longest line or word of a rule file, in bytes; longer ones are dropped.
pub const FILTER_LINE_MAX: usize = 5119;

/// Deepest nesting of rule files that name rule files.
pub const MERGE_DEPTH_MAX: usize = 32;

/// Most bytes of all filter rules that one client may send, so that a stream of rules cannot take
/// all memory (a compiled rule is up to some twenty times as large); over a hundred thousand ordinary
/// rules fit.
pub const FILTER_RULES_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Most per-directory rule files active at once, each of which costs a look-up in every directory.
pub const DIR_MERGES_MAX: usize = 1024;

/// Longest path of a directory with `/` and the name of its rule file, in bytes: PATH_MAX less the
/// NUL.
pub const MERGE_PATH_MAX: usize = 4095;

/// Bytes of a proxy's line with its end: the longest that the two families need.
pub const PROXY_LINE_MAX: usize = 107;

/// Bytes of a proxy's binary header: addresses of the largest family, which are names of sockets.
pub const PROXY_BINARY_MAX: usize = 232;
