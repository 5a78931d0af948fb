//! A process that a script starts: what is written to it, and what it ends with.

use std::ffi::OsStr;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};

/// What a shell says of a program that is not there.
const NOT_FOUND: i32 = 127;

/// Runs a program to its end; its exit code, which is 128 and the number of a signal that killed it.
pub(super) fn run(words: &[Vec<u8>], input: Option<&[u8]>) -> i32 {
    let Some((program, words)) = words.split_first() else { return NOT_FOUND };
    let mut command = Command::new(OsStr::from_bytes(program));
    command.args(words.iter().map(|word| OsStr::from_bytes(word)));
    command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
    let Ok(mut child) = command.spawn() else { return NOT_FOUND };
    if let (Some(mut pipe), Some(input)) = (child.stdin.take(), input) {
        // One that does not read to the end says by its exit code what that means.
        let _ = pipe.write_all(input);
    }
    match child.wait() {
        Ok(status) => {
            status.code().unwrap_or_else(|| 128_i32.saturating_add(status.signal().unwrap_or(0)))
        }
        Err(_) => NOT_FOUND,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_reach_a_program_as_they_are() {
        // A failure would run what a file is called.
        let run = |words: &[&str], input: Option<&[u8]>| {
            run(&words.iter().map(|w| w.as_bytes().to_vec()).collect::<Vec<_>>(), input)
        };
        let test = ["/bin/sh", "-c", "[ \"$1\" = '`exit 9`; $(exit 9)' ]", "sh"];
        assert_eq!(run(&[&test[..], &["`exit 9`; $(exit 9)"]].concat(), None), 0);
        assert_eq!(run(&["/bin/sh", "-c", "exit 7"], None), 7);
        assert_eq!(run(&["/bin/sh", "-c", "kill -9 $$"], None), 137);
        assert_eq!(run(&["/no/such/program"], None), 127);
        assert_eq!(run(&["/bin/sh", "-c", "[ \"$(cat)\" = abc ]"], Some(b"abc")), 0);
        assert_eq!(run(&["/bin/true"], Some(&[0; 200_000])), 0);
    }
}
