//! What an old protocol makes of the options: some mean something else there, some have no form.
//!
//! Both sides ask [`settle`] once the protocol of the session is known, and before anything else travels.

use std::sync::Arc;

use wire::exchange::request::ItemHead;
use wire::exit::ExitCode;
use wire::version::Protocol;

use crate::fatal::Fatal;
use crate::generator::Generator;
use crate::options::{Append, DeleteMode, Options};

/// The options as a session of this protocol has them. `local`: both sides are this program.
///
/// # Errors
/// An option that the protocol has no form for. Exits 2.
pub fn settle(opts: &Arc<Options>, protocol: Protocol, local: bool) -> Result<Arc<Options>, Fatal> {
    if protocol.has_varints() {
        return Ok(opts.clone());
    }
    let at = protocol.number();
    let refuse = |what: &str, needed: i32| {
        let text = format!("{what} requires protocol {needed} or higher (negotiated {at}).");
        Err(Fatal::bare(ExitCode::Protocol, text))
    };
    if opts.acls && !local {
        return refuse("--acls", 30);
    }
    if opts.xattrs > 0 && !local {
        return refuse("--xattrs", 30);
    }
    if !protocol.has_item_flags() {
        if opts.fuzzy > 0 {
            return refuse("--fuzzy", 29);
        }
        let basis = opts.basis_kind.option();
        if !opts.basis_dirs.is_empty() && opts.inplace {
            return refuse(&format!("{basis} with --inplace"), 29);
        }
        if opts.basis_dirs.len() > 1 {
            return refuse(&format!("Using more than one {basis} option"), 29);
        }
        if opts.prune_empty_dirs {
            return refuse("--prune-empty-dirs", 29);
        }
    }
    if opts.atimes && !protocol.has_wide_flags() {
        return refuse("--atimes", 28);
    }
    let mut opts = (**opts).clone();
    if opts.append == Append::Blindly {
        opts.append = Append::Verified;
    }
    if opts.delete == DeleteMode::During && !opts.given.delete_when && !protocol.deletes_during() {
        opts.delete = DeleteMode::Before;
    }
    Ok(Arc::new(opts))
}

impl Generator {
    /// Whether a new directory is named only once something of it had to be set.
    pub fn names_what_is_set(&self) -> bool {
        let opts = &self.recv.opts;
        !self.recv.agreed.protocol.has_item_flags() && !opts.shows_letters() && !opts.dry_run
    }

    /// Shows an item that the protocol has no record of: the sender would not know of it.
    pub fn tell_untold(&self, head: &ItemHead) -> Result<(), Fatal> {
        let recv = &self.recv;
        let (segment, place) = match recv.lists.lock() {
            Ok(lists) => lists.find(head.ndx)?,
            Err(_) => return Err(Fatal::silent(ExitCode::Crashed)),
        };
        let own = recv.server.then(|| self.printer.for_untold());
        let printer = own.as_ref().unwrap_or(&self.printer);
        printer.item(&recv.reporter, &segment, &place, head, None, &|_| b"");
        Ok(())
    }
}
