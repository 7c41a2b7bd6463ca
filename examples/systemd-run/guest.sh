#!/usr/bin/env bash
# Starts the guest of ../two-hosts in a systemd scope of its own. Not run by us:
# see README.md.
set -euo pipefail
. "$(dirname "$0")/../two-hosts/qemu-command.sh"

# systemd-run --scope becomes QEMU; -daemonize lets go of the terminal. The scope
# lives as long as a process is in it, and goes away with the last (--collect).
systemd-run --scope --quiet --collect --unit="guest-$NAME" --slice=machine.slice -- "${command[@]}" -daemonize
echo "$NAME runs in guest-$NAME.scope; its monitor is $RUN/$NAME.qmp"
