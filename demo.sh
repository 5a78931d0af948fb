#!/usr/bin/env bash
# Builds livemirror, starts a receiving daemon and a live mirror on this machine, and shows a file
# arrive. Leaves nothing behind.
set -euo pipefail
cd "$(dirname "$0")"

echo "building (a minute or two the first time)"
cargo build --release --quiet
livemirror=$PWD/target/release/livemirror
if [ -n "${CARGO_TARGET_DIR:-}" ]; then livemirror=$CARGO_TARGET_DIR/release/livemirror; fi

place=$(mktemp -d)
mkdir "$place/source" "$place/target"
port=$((20000 + RANDOM % 20000))
while (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do port=$((port + 1)); done
trap 'kill $(jobs -p) 2>/dev/null; wait 2>/dev/null; rm -rf "$place"' EXIT

"$livemirror" serve --module "backup=$place/target" --port "$port" --address 127.0.0.1 &
until (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do sleep 0.05; done
"$livemirror" watch "$place/source/" "rsync://127.0.0.1:$port/backup/" --name="demo-$$" &
until "$livemirror" status "demo-$$" 2>/dev/null | grep -q idle; do sleep 0.05; done

echo "writing source/hello"
echo "hello from $(date)" > "$place/source/hello"
for _ in $(seq 200); do
    [ -s "$place/target/hello" ] && break
    sleep 0.01
done
echo "target/hello: $(cat "$place/target/hello")"
"$livemirror" status "demo-$$"
