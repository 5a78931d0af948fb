//! Plain numbers of a run, no rendering.

/// What is counted, on whichever side the roles run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Entries listed, by kind.
    pub listed: KindCounts,
    /// Items created at the destination, by kind.
    pub created: KindCounts,
    /// Items deleted at the destination, by kind.
    pub deleted: KindCounts,
    /// Regular files whose content travelled.
    pub transferred: u64,
    /// Sum of the lengths of all listed files and symlinks, in bytes.
    pub total_size: u64,
    /// Sum of the lengths of transferred files, in bytes.
    pub transferred_size: u64,
    /// Bytes sent as such.
    pub literal: u64,
    /// Bytes taken from a basis.
    pub matched: u64,
    /// Bytes of the file list on the wire.
    pub flist_size: u64,
    /// Time to build the list, in milliseconds.
    pub flist_build_ms: u64,
    /// Time to send the list, in milliseconds.
    pub flist_xfer_ms: u64,
    /// Raw bytes this side wrote.
    pub sent: u64,
    /// Raw bytes this side read.
    pub received: u64,
}

/// Numbers of items by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KindCounts {
    /// Regular files.
    pub files: u64,
    /// Directories.
    pub dirs: u64,
    /// Symbolic links.
    pub links: u64,
    /// Block and character devices.
    pub devices: u64,
    /// Fifos and sockets.
    pub specials: u64,
}

impl Counters {
    /// What a sending server told: its view of the traffic, and what it listed.
    pub fn take_server_stats(&mut self, stats: &wire::exchange::goodbye::Stats) {
        self.total_size = stats.size;
        self.sent = stats.read;
        self.received = stats.written;
        self.flist_build_ms = stats.build_ms;
        self.flist_xfer_ms = stats.xfer_ms;
    }
}

impl KindCounts {
    /// All kinds together.
    pub fn total(&self) -> u64 {
        self.files + self.dirs + self.links + self.devices + self.specials
    }

    /// Counts one item of this mode.
    pub fn add(&mut self, mode: u32) {
        let field = match mode & 0o170_000 {
            0o040_000 => &mut self.dirs,
            0o120_000 => &mut self.links,
            0o060_000 | 0o020_000 => &mut self.devices,
            0o010_000 | 0o140_000 => &mut self.specials,
            _ => &mut self.files,
        };
        *field += 1;
    }
}
