#!/usr/bin/env bash
# Makes a CA and an identity for each host, in ./identities:
#   certificates.sh HOST…
set -euo pipefail
LAZYMIG=${LAZYMIG:-lazymig}
DIR=${DIR:-./identities}
[ $# -gt 0 ] || { echo "usage: certificates.sh HOST…" >&2; exit 2; }

[ -e "$DIR/ca.crt" ] || "$LAZYMIG" cert ca --tls-dir "$DIR"
for host in "$@"; do
	"$LAZYMIG" cert issue "$host" --tls-dir "$DIR"
done

echo
echo "Now bring each host its own. ca.key stays here."
for host in "$@"; do
	echo "  ssh $host mkdir -p -m 700 /etc/lazymig/tls"
	echo "  scp $DIR/{ca.crt,domain.key,$host.crt,$host.key} $host:/etc/lazymig/tls/"
done
