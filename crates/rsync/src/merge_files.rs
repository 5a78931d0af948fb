//! The rules of a command line, read into a filter list; the rules a client sends, read off the
//! connection.

use wire::filter::list::FilterList;
use wire::version::Protocol;

use crate::fatal::Fatal;
use crate::options::Options;

/// Adds a rule that a client sent.
pub fn add_from_peer(_filters: &mut FilterList, _rule: &[u8]) -> Result<(), Fatal> {
    Ok(())
}

/// TEMP
pub fn client_filters(_opts: &Options, _protocol: Protocol) -> Result<FilterList, Fatal> {
    Ok(FilterList::new())
}
