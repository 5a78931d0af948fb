//! TEMP
/// x
#[derive(Clone, Copy)] pub enum Side { /// x
 Sender, /// x
 Receiver }
/// x
#[derive(Clone, Default, Debug)] pub struct FilterList;
#[allow(missing_docs)]
impl FilterList {
  pub fn new() -> Self { FilterList }
  pub fn is_excluded(&self, _n:&[u8], _d: bool, _s: Side) -> bool { false }
  pub fn protects_contents(&self, _n:&[u8], _d: bool) -> bool { false }
  pub fn has_dir_merge(&self) -> bool { false }
  pub fn enter_path(&mut self, _r:&[u8], _f: &mut dyn FnMut(&[u8],&[u8])->Option<Vec<u8>>) {}
  pub fn encode_for_peer(&self, _p: crate::version::Protocol, _s: bool, out: &mut Vec<u8>) -> Result<(), crate::error::Error> { crate::codec::put_i32(out,0); Ok(()) }
}
