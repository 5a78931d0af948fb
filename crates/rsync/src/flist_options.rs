//! From options and agreement to what the file-list codec needs to know.

use wire::flist::flags::FlistOptions;
use wire::handshake::CompatFlags;

use crate::options::Options;
use crate::setup::Agreed;

/// The shape of file-list entries in this session.
pub fn flist_options(opts: &Options, agreed: &Agreed) -> FlistOptions {
    FlistOptions {
        protocol: agreed.protocol,
        varint_flags: agreed.compat.contains(CompatFlags::VARINT_FLIST),
        safe_flist: agreed.compat.contains(CompatFlags::SAFE_FLIST),
        id0_names: agreed.compat.contains(CompatFlags::ID0_NAMES),
        inc: agreed.inc(),
        atimes: opts.atimes,
        owner: opts.owner,
        group: opts.group,
        links: opts.links,
        devices: opts.devices,
        specials: opts.specials,
        hard_links: opts.hard_links,
        acls: opts.acls,
        xattrs: opts.xattrs > 0,
        checksum_len: opts.checksum.then(|| agreed.list_sum.digest_len()),
        numeric_ids: opts.numeric_ids,
        relative: opts.relative,
        delete_missing_args: opts.delete_missing_args,
        recurse: opts.recurse,
    }
}
