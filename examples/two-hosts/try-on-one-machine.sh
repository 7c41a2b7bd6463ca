#!/usr/bin/env bash
# Moves a small guest from this machine to this machine, without identities. As
# root. The guest has no disk: it is QEMU's firmware, which looks for one for
# ever. Everything that is made is taken away in the end.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
LAZYMIG=${LAZYMIG:-lazymig}
PORT=${PORT:-7000}
NAME=try-$$ MEMORY=${MEMORY:-256M} DISK=
top=$(mktemp -d)
mkdir "$top"/{source,destination}

clean() {
	for pid in "$top"/*/"$NAME.pid"; do
		[ ! -e "$pid" ] || kill -KILL "$(cat "$pid")" 2>/dev/null || true
	done
	[ -z "${receiver:-}" ] || kill "$receiver" 2>/dev/null || true
	wait
	rm -rf "$top" "/dev/shm/$NAME"*
}
trap clean EXIT

say() { printf '\n# %s\n' "$*"; }

say "the guest, at the source"
RUN=$top/source
. "$here/qemu-command.sh"
"${command[@]}" -daemonize

say "the destination waits for it"
RUN=$top/destination
. "$here/qemu-command.sh" # the same command line but for its sockets
"$LAZYMIG" receive --listen "127.0.0.1:$PORT" --insecure-loopback --state-dir "$top/destination" -- "${command[@]}" 2>"$top/log" &
receiver=$!
until grep -q 'waiting for' "$top/log"; do
	kill -0 "$receiver" 2>/dev/null || { cat "$top/log" >&2; exit 1; }
	sleep 0.1
done
cat "$top/log"

say "look first, then move"
send=("$LAZYMIG" send --qmp "$top/source/$NAME.qmp" --to "127.0.0.1:$PORT" --insecure-loopback --state-dir "$top/source")
"${send[@]}" --dry-run
"${send[@]}"

say "what the destination says"
wait "$receiver"
receiver=
"$LAZYMIG" status "$NAME" --state-dir "$top/destination"
kill -0 "$(cat "$top/destination/$NAME.pid")"
echo "  process $(cat "$top/destination/$NAME.pid") has the guest now, and ends with this script"
