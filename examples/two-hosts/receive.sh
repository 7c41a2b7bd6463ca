#!/usr/bin/env bash
# Waits for the guest on the host where it is to go, with the command line by
# which this host would start it. Options go to lazymig receive.
set -euo pipefail
. "$(dirname "$0")/qemu-command.sh"
exec "${LAZYMIG:-lazymig}" receive --listen "0.0.0.0:${PORT:-7000}" "$@" -- "${command[@]}"
