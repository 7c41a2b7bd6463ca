// Package guest builds the Linux guest that tests and benchmarks move: Debian's
// cloud kernel, and an initramfs with busybox, the virtio modules and one
// static program (folder init) that keeps a large memory changing, can verify
// every word of it at any time, writes checked disk records, echoes TCP and
// beats on its second serial port.
//
// Nothing is installed: the kernel package is fetched with apt-get download
// and unpacked into a cache folder, which concurrent builders share under a
// file lock. The first call to make is [Build]; [Params] says how the guest
// behaves.
package guest
