//! The matrix: every scenario in every pairing with the reference program, side by side.

use livemirror_tests::matrix::{Pairing, check};

#[test]
fn local() {
    check(Pairing::Local, None);
}

#[test]
fn shell_push() {
    check(Pairing::ShellPush, None);
}

#[test]
fn shell_pull() {
    check(Pairing::ShellPull, None);
}

#[test]
fn daemon_push() {
    check(Pairing::DaemonPush, None);
}

#[test]
fn daemon_pull() {
    check(Pairing::DaemonPull, None);
}

#[test]
fn push_with_each_protocol() {
    for version in [30, 31, 32] {
        check(Pairing::ShellPush, Some(version));
    }
}

#[test]
fn pull_with_each_protocol() {
    for version in [30, 31, 32] {
        check(Pairing::ShellPull, Some(version));
    }
}
