//! The set-up of a session: versions, capabilities, negotiated names, seed.
//!
//! Both sides run it right after the transport stands. Steps, in wire order: version words (not
//! after a daemon's greeting), the server's compatibility flags, both sides' checksum and
//! compression lists (each written before the other's is read), the server's seed. From then on
//! both directions are framed.

use std::sync::Arc;

use wire::checksum::strong::{ChecksumKind, SumContext};
use wire::codec::{get_i32, get_vstring, put_i32, put_vstring};
use wire::exit::ExitCode;
use wire::handshake::CompatFlags;
use wire::itemize::ItemFlags;
use wire::negotiate;
use wire::sum::SumHead;
use wire::token::TokenKind;
use wire::version::Protocol;

use crate::charset::Charset;
use crate::control::Control;
use crate::fatal::Fatal;
use crate::items::ItemPrinter;
use crate::link::{LinkReader, LinkWriter};
use crate::options::{Options, RemoveSource};
use crate::report::messages::Reporter;

/// What the two sides agreed on.
#[derive(Clone, Debug)]
pub struct Agreed {
    /// Protocol of the session.
    pub protocol: Protocol,
    /// Compatibility flags in force.
    pub compat: CompatFlags,
    /// Sums of blocks and of transferred files.
    pub transfer_sum: SumContext,
    /// Digest of `--checksum`.
    pub list_sum: ChecksumKind,
    /// Codec of the token stream.
    pub tokens: TokenKind,
    /// How names are converted, where they are.
    pub charset: Option<Arc<Charset>>,
    /// Texts of symbolic links are converted too, which both sides can do.
    pub converts_links: bool,
}

impl Agreed {
    /// Whether incremental recursion is used.
    pub fn inc(&self) -> bool {
        self.compat.contains(CompatFlags::INC_RECURSE)
    }

    /// Whether what the client sends is framed. Old protocols frame it only for a client that has
    /// something to confirm.
    pub fn frames_client(&self, opts: &Options, client_receives: bool) -> bool {
        self.protocol.client_frames()
            || client_receives && opts.remove_source != RemoveSource::Nothing
    }

    /// Whether a client that sends gives its server rules: some keep from deletion, some keep
    /// directories from being pruned.
    pub fn sends_receiver_rules(&self, opts: &Options) -> bool {
        let marked = self.protocol.has_rule_modifiers() || !opts.delete_excluded;
        opts.prune_empty_dirs || opts.deletes() && marked
    }

    /// The last phase, counted from 0.
    pub fn last_phase(&self) -> u8 {
        if self.protocol.has_third_phase() { 2 } else { 1 }
    }

    /// Reads the head of a basis's sums.
    pub fn sum_head(&self, reader: &mut LinkReader) -> Result<SumHead, Fatal> {
        SumHead::decode(reader, self.transfer_sum.digest_len(), self.protocol)
    }

    /// Whether a request for long values of extended attributes, or its answer, follows a record.
    pub fn xattrs_follow(&self, opts: &Options, iflags: ItemFlags) -> bool {
        let linked = ItemFlags::XNAME_FOLLOWS | ItemFlags::LOCAL_CHANGE;
        let optimized =
            self.protocol.number() >= 31 && !self.compat.contains(CompatFlags::AVOID_XATTR_OPT);
        opts.xattrs > 0
            && !opts.travels_dry()
            && iflags.contains(ItemFlags::REPORT_XATTR)
            && !(optimized && iflags.contains(linked))
    }
}

/// What the roles of either direction need from whoever sets the session up.
pub struct RoleSetup {
    /// Options of the run.
    pub opts: Arc<Options>,
    /// What was negotiated.
    pub agreed: Agreed,
    /// Reading half, framed.
    pub reader: LinkReader,
    /// Writing half, framed.
    pub writer: LinkWriter,
    /// Voice of the run.
    pub reporter: Arc<Reporter>,
    /// What the caller watches.
    pub control: Arc<Control>,
    /// Prints items; silent on a server.
    pub printer: ItemPrinter,
    /// Whether this side is the server.
    pub server: bool,
}

/// Texts of the environment that choose names: the values of `RSYNC_CHECKSUM_LIST` and
/// `RSYNC_COMPRESS_LIST`.
#[derive(Clone, Debug, Default)]
pub struct NameLists {
    /// `RSYNC_CHECKSUM_LIST`.
    pub checksum: Option<Vec<u8>>,
    /// `RSYNC_COMPRESS_LIST`.
    pub compress: Option<Vec<u8>>,
}

impl NameLists {
    /// Those of a client: of a batch every reader must know what its names mean.
    pub fn of_client(opts: &Options) -> NameLists {
        match opts.batch.write {
            Some(_) => {
                NameLists { checksum: Some(b"md5".to_vec()), compress: Some(b"zlib".to_vec()) }
            }
            None => NameLists::from_env(),
        }
    }

    /// Reads both from this process's environment.
    pub fn from_env() -> NameLists {
        use std::os::unix::ffi::OsStringExt;
        let get = |name: &str| std::env::var_os(name).map(OsStringExt::into_vec);
        NameLists { checksum: get("RSYNC_CHECKSUM_LIST"), compress: get("RSYNC_COMPRESS_LIST") }
    }
}

/// Exchanges version words, for every transport but a daemon's.
pub fn versions(
    opts: &Options,
    reader: &mut LinkReader,
    writer: &mut LinkWriter,
) -> Result<Protocol, Fatal> {
    put_i32(&mut writer.data, opts.protocol.number());
    writer.flush()?;
    let peer = get_i32(reader)?;
    Ok(wire::version::negotiated(opts.protocol, peer)?)
}

/// The client's side, after the versions are known.
pub fn client(
    opts: &Options,
    protocol: Protocol,
    names: &NameLists,
    sending: bool,
    reader: &mut LinkReader,
    writer: &mut LinkWriter,
) -> Result<Agreed, Fatal> {
    let compat = match protocol.has_compat_flags() {
        true => CompatFlags::decode(reader)?,
        false => CompatFlags::default(),
    };
    if compat.contains(CompatFlags::INC_RECURSE) && !opts.may_recurse_in_segments(!sending) {
        return Err(Fatal::new(
            ExitCode::Syntax,
            "Incompatible options specified for inc-recursive connection.",
        ));
    }
    let ask = Ask {
        strings: compat.contains(CompatFlags::VARINT_FLIST),
        implied: implied_sum(protocol),
        server: false,
    };
    let (checksum, tokens) = agree_names(opts, names, &ask, reader, writer)?;
    let seed = get_i32(reader)?;
    finish(opts, protocol, compat, checksum, tokens, seed)
}

/// The server's side, after the versions are known. `seed` is used unless the client chose one.
pub fn server(
    opts: &Options,
    protocol: Protocol,
    names: &NameLists,
    seed: i32,
    reader: &mut LinkReader,
    writer: &mut LinkWriter,
) -> Result<Agreed, Fatal> {
    let capabilities = opts.capabilities.clone().unwrap_or_default();
    let mut compat = CompatFlags::default();
    if protocol.has_compat_flags() {
        compat = wire::handshake::flags_for_client(
            &capabilities,
            opts.may_recurse_in_segments(!opts.sender),
        );
        compat.encode_for(&capabilities, &mut writer.data);
    }
    let ask = Ask {
        strings: protocol.has_compat_flags() && wire::handshake::negotiates_strings(&capabilities),
        implied: implied_sum(protocol),
        server: true,
    };
    let (checksum, tokens) = agree_names(opts, names, &ask, reader, writer)?;
    let seed = if opts.checksum_seed != 0 { opts.checksum_seed } else { seed };
    put_i32(&mut writer.data, seed);
    writer.flush()?;
    finish(opts, protocol, compat, checksum, tokens, seed)
}

/// What the head of a batch file says, which stands for a server's answers.
///
/// # Errors
/// The system does not know this side's charset.
pub fn of_batch(
    opts: &Options,
    protocol: Protocol,
    compat: CompatFlags,
    seed: i32,
) -> Result<Agreed, Fatal> {
    let checksum = chosen_sums(opts, protocol).map_or(ChecksumKind::Md5, |(transfer, _)| transfer);
    let tokens = match (opts.compress, opts.compress_choice) {
        (false, _) => TokenKind::Plain,
        (true, choice) => choice.unwrap_or(TokenKind::Zlib),
    };
    finish(opts, protocol, compat, checksum, tokens, seed)
}

fn finish(
    opts: &Options,
    protocol: Protocol,
    compat: CompatFlags,
    checksum: ChecksumKind,
    tokens: TokenKind,
    seed: i32,
) -> Result<Agreed, Fatal> {
    let by_name = compat.contains(CompatFlags::VARINT_FLIST) || opts.checksum_choice.is_some();
    let seed_first = by_name || compat.contains(CompatFlags::CHKSUM_SEED_FIX);
    let transfer_sum = SumContext { kind: checksum, seed, seed_first };
    let list_sum = chosen_sums(opts, protocol).map_or(checksum, |(_, list)| list);
    let converts_links = match &opts.capabilities {
        Some(client) if opts.server => wire::handshake::converts_links(client),
        _ => compat.contains(CompatFlags::SYMLINK_ICONV),
    };
    let converts_links = converts_links && protocol.has_compat_flags();
    let charset = Charset::open(opts.charsets.own.as_deref())?;
    Ok(Agreed { protocol, compat, transfer_sum, list_sum, tokens, charset, converts_links })
}

/// How names are agreed on.
struct Ask {
    /// Lists of names are exchanged.
    strings: bool,
    /// The sum where nothing is said.
    implied: ChecksumKind,
    /// This side is the server.
    server: bool,
}

fn implied_sum(protocol: Protocol) -> ChecksumKind {
    if protocol.implies_md5() { ChecksumKind::Md5 } else { ChecksumKind::ImpliedMd4 }
}

/// The sums of the command line: of a transfer, of `--checksum`.
fn chosen_sums(opts: &Options, protocol: Protocol) -> Option<(ChecksumKind, ChecksumKind)> {
    let implied = implied_sum(protocol);
    let (transfer, list) = opts.checksum_choice?;
    Some((transfer.unwrap_or(implied), list.unwrap_or(implied)))
}

/// Chooses checksum and compression: explicit choices stand, the rest is negotiated when the
/// client can, and falls back to the names implied by the protocol when it cannot.
fn agree_names(
    opts: &Options,
    names: &NameLists,
    &Ask { strings, implied, server }: &Ask,
    reader: &mut LinkReader,
    writer: &mut LinkWriter,
) -> Result<(ChecksumKind, TokenKind), Fatal> {
    let own_sums = negotiate::checksum_list(names.checksum.as_deref(), server);
    let own_codecs = negotiate::compress_list(names.compress.as_deref(), server);
    let ask_sum = strings && opts.checksum_choice.is_none();
    let ask_codec = strings && opts.compress && opts.compress_choice.is_none();
    if ask_sum {
        put_vstring(&mut writer.data, &own_sums.wire_text())?;
    }
    if ask_codec {
        put_vstring(&mut writer.data, &own_codecs.wire_text())?;
    }
    writer.flush()?;
    let choose = |own: &negotiate::NameList, peer: &[u8]| {
        if server {
            negotiate::choose_server(peer, own)
        } else {
            negotiate::choose_client(own, peer)
        }
    };
    let mut sum = opts.checksum_choice.and_then(|(transfer, _)| transfer).unwrap_or(implied);
    if ask_sum {
        let peer = get_vstring(reader, wire::limits::NEGOTIATION_MAX)?;
        let name = choose(&own_sums, &peer).ok_or_else(|| no_common("checksum"))?;
        sum = ChecksumKind::parse(name).ok_or_else(|| no_common("checksum"))?;
    }
    let mut codec = match (opts.compress, opts.compress_choice) {
        (false, _) => TokenKind::Plain,
        (true, Some(choice)) => choice,
        (true, None) => TokenKind::Zlib,
    };
    if ask_codec {
        let peer = get_vstring(reader, wire::limits::NEGOTIATION_MAX)?;
        let name = choose(&own_codecs, &peer).ok_or_else(|| no_common("compress"))?;
        codec = TokenKind::parse(name).ok_or_else(|| no_common("compress"))?;
    }
    Ok((sum, codec))
}

fn no_common(what: &str) -> Fatal {
    Fatal::new(ExitCode::Unsupported, format!("Failed to negotiate a {what} choice."))
}
