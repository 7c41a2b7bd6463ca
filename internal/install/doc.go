// Package install is how lazymig gets onto a host: the systemd unit, the
// description of the Debian package, and the tests of `make install` and
// `make deb`. It has no code of the product.
package install
