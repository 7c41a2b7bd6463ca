package demo

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/lazymig/lazymig/quictransport"
)

// The hosts, by the names in their certificates.
const (
	source      = "source"
	destination = "destination"
)

// validity of the certificates: a run takes a minute.
const validity = time.Hour

// identify makes a CA and gives each host a folder with what it needs, as an
// operator does with `lazymig cert`.
func (w *workplace) identify() error {
	ca := w.path("ca")
	if err := quictransport.CreateCA(ca); err != nil {
		return err
	}
	for _, host := range []string{source, destination} {
		err := quictransport.Issue(ca, host, validity)
		if err == nil {
			err = w.give(host, "ca.crt", "domain.key", host+".crt", host+".key")
		}
		if err != nil {
			return fmt.Errorf("make the identity of the %s: %w", host, err)
		}
	}
	return nil
}

// give moves or copies files of the CA to a host.
func (w *workplace) give(host string, files ...string) error {
	to := w.identity(host)
	errs := []error{os.Mkdir(to, 0o700)}
	for _, name := range files {
		errs = append(errs, os.Link(w.path("ca", name), filepath.Join(to, name)))
	}
	return errors.Join(errs...)
}

// identity returns the folder with the identity of a host.
func (w *workplace) identity(host string) string { return w.path("tls-" + host) }
