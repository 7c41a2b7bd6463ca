#!/usr/bin/env bash
# Sends the guest to the host where receive.sh waits: looks first, then moves.
#   send.sh HOST [OPTION…]
set -euo pipefail
LAZYMIG=${LAZYMIG:-lazymig}
host=${1:?usage: send.sh HOST [OPTION…]}
shift
arguments=(--qmp "${RUN:-/run}/${NAME:-web1}.qmp" --to "$host:${PORT:-7000}" "$@")
"$LAZYMIG" send "${arguments[@]}" --dry-run
"$LAZYMIG" send "${arguments[@]}"
