#!/usr/bin/env bash
# Starts the guest on the host where it is at first.
set -euo pipefail
. "$(dirname "$0")/qemu-command.sh"
"${command[@]}" -daemonize
echo "$NAME runs as process $(cat "$RUN/$NAME.pid"); its monitor is $RUN/$NAME.qmp"
