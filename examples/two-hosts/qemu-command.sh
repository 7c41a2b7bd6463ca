# shellcheck shell=bash
# The guest's command line, in the array `command`: the same on both hosts.
# Read by guest.sh, receive.sh and try-on-one-machine.sh.

NAME=${NAME:-web1}
MEMORY=${MEMORY:-4G}
DISK=${DISK:-} # an image that both hosts see; empty: none
RUN=${RUN:-/run}

# shellcheck disable=SC2054 # the commas are QEMU's
command=(
	qemu-system-x86_64
	-name "$NAME"
	# RAM in a shared file with a name: lazymig reads it from outside.
	-machine q35,memory-backend=ram0
	-m "$MEMORY"
	-object "memory-backend-file,id=ram0,mem-path=/dev/shm/$NAME,size=$MEMORY,share=on"
	# A monitor for lazymig alone.
	-qmp "unix:$RUN/$NAME.qmp,server=on,wait=off"
	-pidfile "$RUN/$NAME.pid"
	-display none
	-nic none # your network device here; taps have a name of their own on each host
)
if [ -w /dev/kvm ]; then
	# The oldest CPU of your hosts. "host" would only fit hosts that are equal.
	command+=(-accel kvm -cpu "${CPU:-qemu64}")
fi
if [ -n "$DISK" ]; then
	# cache.direct=on: a host that has handed the guest over keeps nothing in its page cache.
	command+=(-drive "file=$DISK,if=virtio,cache.direct=on")
fi
