//! exit.
/// Exit codes.
#[repr(u8)]
#[derive(Copy, Clone, PartialEq, Eq, Debug, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum ExitCode { Ok=0, Syntax=1, Protocol=2, FileSelect=3, Unsupported=4, StartClient=5, SocketIo=10, FileIo=11, StreamIo=12, MessageIo=13, Ipc=14, Crashed=15, Terminated=16, Sigusr1=19, Signal=20, WaitChild=21, Malloc=22, Partial=23, Vanished=24, DelLimit=25, Timeout=30, ConTimeout=35, CmdFailed=124, CmdKilled=125, CmdRun=126, CmdNotFound=127 }
