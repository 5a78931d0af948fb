//! TEMP
/// x
#[allow(missing_docs)]
pub enum Verdict { Accepted, ImpliedParent, Refused }
/// x
#[derive(Debug)] pub struct Requested;
#[allow(missing_docs)]
impl Requested { pub fn new(_r:bool,_d:bool,_x:bool)->Self{Requested} pub fn add(&mut self,_n:&[u8]){} pub fn check(&self,_n:&[u8],_d:bool)->Verdict{Verdict::Accepted} }
