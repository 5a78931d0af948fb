//! The matrix: every scenario in every pairing with the reference program, side by side.

use livemirror_tests::matrix::{Pairing, Variant, check};

#[test]
fn local() {
    check(Pairing::Local, &[Variant::Plain]);
}

#[test]
fn shell_push() {
    check(Pairing::ShellPush, &[Variant::Plain]);
}

#[test]
fn shell_pull() {
    check(Pairing::ShellPull, &[Variant::Plain]);
}

#[test]
fn daemon_push() {
    check(Pairing::DaemonPush, &[Variant::Plain]);
}

#[test]
fn daemon_pull() {
    check(Pairing::DaemonPull, &[Variant::Plain]);
}

#[test]
fn push_with_each_protocol() {
    check(Pairing::ShellPush, &[27, 28, 29, 30, 31, 32].map(Variant::Protocol));
}

#[test]
fn pull_with_each_protocol() {
    check(Pairing::ShellPull, &[27, 28, 29, 30, 31, 32].map(Variant::Protocol));
}

#[test]
fn local_dry_runs() {
    check(Pairing::Local, &[Variant::DryRun]);
}

#[test]
fn daemon_push_dry_runs() {
    check(Pairing::DaemonPush, &[Variant::DryRun]);
}

#[test]
fn daemon_push_without_chroot() {
    check(Pairing::DaemonPush, &[Variant::NoChroot]);
}

#[test]
fn daemon_pull_without_chroot() {
    check(Pairing::DaemonPull, &[Variant::NoChroot]);
}
