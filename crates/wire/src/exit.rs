//! The exit codes that both sides share, with the texts of the final error line.

/// What a process ends with; the numbers are rsync's.
#[repr(u8)]
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ExitCode {
    /// Success.
    Ok = 0,
    /// Wrong use of options or arguments.
    Syntax = 1,
    /// The sides cannot understand each other.
    Protocol = 2,
    /// Input or output files cannot be selected.
    FileSelect = 3,
    /// A requested action is refused or not supported.
    Unsupported = 4,
    /// The session could not be started.
    StartClient = 5,
    /// A socket failed.
    SocketIo = 10,
    /// A file failed.
    FileIo = 11,
    /// The data stream broke or is not what the protocol says.
    StreamIo = 12,
    /// Diagnostics could not be written.
    MessageIo = 13,
    /// Processes or threads could not talk to each other.
    Ipc = 14,
    /// A sibling crashed.
    Crashed = 15,
    /// A sibling ended abnormally.
    Terminated = 16,
    /// Ended by SIGUSR1.
    Sigusr1 = 19,
    /// Ended by SIGINT, SIGTERM or SIGHUP.
    Signal = 20,
    /// Waiting for a child failed.
    WaitChild = 21,
    /// A size is beyond what is allowed to be allocated.
    Malloc = 22,
    /// Some files or attributes were not transferred.
    Partial = 23,
    /// Some files vanished before they were transferred.
    Vanished = 24,
    /// `--max-delete` stopped deletions.
    DelLimit = 25,
    /// Nothing moved for the length of the timeout.
    Timeout = 30,
    /// A daemon did not answer in time.
    ConTimeout = 35,
    /// The remote shell failed.
    CmdFailed = 124,
    /// The remote shell was killed.
    CmdKilled = 125,
    /// The remote command could not be run.
    CmdRun = 126,
    /// The remote command was not found.
    CmdNotFound = 127,
}

/// Every code there is, in order.
const ALL: [ExitCode; 26] = {
    use ExitCode::*;
    [
        Ok,
        Syntax,
        Protocol,
        FileSelect,
        Unsupported,
        StartClient,
        SocketIo,
        FileIo,
        StreamIo,
        MessageIo,
        Ipc,
        Crashed,
        Terminated,
        Sigusr1,
        Signal,
        WaitChild,
        Malloc,
        Partial,
        Vanished,
        DelLimit,
        Timeout,
        ConTimeout,
        CmdFailed,
        CmdKilled,
        CmdRun,
        CmdNotFound,
    ]
};

impl ExitCode {
    /// The number a process exits with, and `[msg-error-exit]` carries.
    pub fn code(self) -> i32 {
        i32::from(self as u8)
    }

    /// The code of that number; none for a status that rsync does not define.
    pub fn from_code(code: i32) -> Option<ExitCode> {
        ALL.into_iter().find(|exit| exit.code() == code)
    }

    /// What the final error line says about it.
    pub fn text(self) -> &'static str {
        match self {
            ExitCode::Ok => "success",
            ExitCode::Syntax => "syntax or usage error",
            ExitCode::Protocol => "protocol incompatibility",
            ExitCode::FileSelect => "errors selecting input/output files, dirs",
            ExitCode::Unsupported => "requested action not supported",
            ExitCode::StartClient => "error starting client-server protocol",
            ExitCode::SocketIo => "error in socket IO",
            ExitCode::FileIo => "error in file IO",
            ExitCode::StreamIo => "error in rsync protocol data stream",
            ExitCode::MessageIo => "errors with program diagnostics",
            ExitCode::Ipc => "error in IPC code",
            ExitCode::Crashed => "sibling process crashed",
            ExitCode::Terminated => "sibling process terminated abnormally",
            ExitCode::Sigusr1 => "received SIGUSR1",
            ExitCode::Signal => "received SIGINT, SIGTERM, or SIGHUP",
            ExitCode::WaitChild => "waitpid() failed",
            ExitCode::Malloc => "error allocating core memory buffers",
            ExitCode::Partial => "some files/attrs were not transferred (see previous errors)",
            ExitCode::Vanished => "some files vanished before they could be transferred",
            ExitCode::DelLimit => "the --max-delete limit stopped deletions",
            ExitCode::Timeout => "timeout in data send/receive",
            ExitCode::ConTimeout => "timeout waiting for daemon connection",
            ExitCode::CmdFailed => "remote shell failed",
            ExitCode::CmdKilled => "remote shell killed",
            ExitCode::CmdRun => "remote command could not be run",
            ExitCode::CmdNotFound => "remote command not found",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_found_by_number() {
        let known: Vec<i32> =
            (-1..300).filter(|&code| ExitCode::from_code(code).is_some()).collect();
        let want: Vec<i32> =
            (0..=5).chain(10..=16).chain(19..=25).chain([30, 35]).chain(124..=127).collect();
        assert_eq!(known, want);
        assert_eq!(ExitCode::from_code(23), Some(ExitCode::Partial));
        assert_eq!(ExitCode::StreamIo.text(), "error in rsync protocol data stream");
    }
}
