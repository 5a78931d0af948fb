#!/usr/bin/env bash
# Runs every test. Installs the programs that the tests compare with, where they are missing.
set -euo pipefail
cd "$(dirname "$0")"

want=""
for pair in rsync:rsync lsyncd:lsyncd sshd:openssh-server strace:strace; do
    program=${pair%%:*} package=${pair#*:}
    if ! command -v "$program" >/dev/null 2>&1 && [ ! -x "/usr/sbin/$program" ]; then
        want="$want $package"
    fi
done
# The comparison is with rsync 3.5; an older one that is installed already is brought up to date.
if [ -z "$want" ]; then
    case $(rsync --version) in
        *'version 3.5.'*) ;;
        *) want=" rsync" ;;
    esac
fi
if [ -n "$want" ] && [ -z "${LIVEMIRROR_NO_ORACLE:-}" ]; then
    echo "test.sh: installing$want"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $want
fi
if [ -z "${LIVEMIRROR_NO_ORACLE:-}" ]; then
    version=$(rsync --version)
    echo "test.sh: comparing with ${version%%$'\n'*}"
fi

echo "test.sh: building"
cargo build --workspace --all-targets
echo "test.sh: running the tests"
cargo test --workspace
