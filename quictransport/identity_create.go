package quictransport

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"time"
)

// hostName is what a host may be called: safe as a file name and in a
// certificate.
var hostName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

// CreateCA makes a certification authority in the folder dir, which it creates
// if need be: ca.crt, ca.key and domain.key, the key of page digests. All files
// have mode 0600. It returns an error that wraps ErrExists, and writes nothing,
// if one of them is there.
func CreateCA(dir string) error {
	if err := createCA(dir, time.Now()); err != nil {
		return fmt.Errorf("create CA: %w", err)
	}
	return nil
}

func createCA(dir string, now time.Time) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	template := caTemplate(now)
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		return err
	}
	keyPEM, err := encodeKey(private)
	if err != nil {
		return err
	}
	var domain [32]byte
	if _, err := rand.Read(domain[:]); err != nil {
		return err
	}
	// ca.crt comes last: without it there is no CA.
	return createFiles(dir, []newFile{
		{domainKeyFile, []byte(hex.EncodeToString(domain[:]) + "\n")},
		{caKeyFile, keyPEM},
		{caCertFile, encodeCertificate(der)},
	})
}

// Issue makes NAME.crt and NAME.key with the CA in dir, valid for the given
// time but not longer than the CA. It returns an error that wraps ErrExists,
// and writes nothing, if one of them is there, and ErrName for a name that is
// no plain host name of at most 63 characters.
func Issue(dir, name string, validity time.Duration) error {
	if !hostName.MatchString(name) || name == "ca" || name == "domain" {
		return fmt.Errorf("issue certificate: %w: %q: use up to 63 letters, digits, dots, dashes and underscores, and neither \"ca\" nor \"domain\"", ErrName, name)
	}
	if validity <= 0 {
		return fmt.Errorf("issue certificate for %s: %w: validity of %s", name, ErrConfig, validity)
	}
	files, err := issue(dir, name, time.Now(), validity)
	if err != nil {
		return fmt.Errorf("issue certificate for %s: %w", name, err)
	}
	if err := createFiles(dir, files); err != nil {
		return fmt.Errorf("issue certificate for %s: %w", name, err)
	}
	return nil
}

func issue(dir, name string, now time.Time, validity time.Duration) ([]newFile, error) {
	ca, err := readCertificate(filepath.Join(dir, caCertFile))
	if err != nil {
		return nil, err
	}
	if err := validityError(filepath.Join(dir, caCertFile), ca, now); err != nil {
		return nil, err
	}
	caKey, err := readKey(filepath.Join(dir, caKeyFile))
	if err != nil {
		return nil, err
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	template := hostTemplate(name, now, validity)
	if template.NotAfter.After(ca.NotAfter) {
		template.NotAfter = ca.NotAfter
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca, public, caKey)
	if err != nil {
		return nil, err
	}
	keyPEM, err := encodeKey(private)
	if err != nil {
		return nil, err
	}
	return []newFile{{name + ".key", keyPEM}, {name + ".crt", encodeCertificate(der)}}, nil
}

func caTemplate(now time.Time) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber:          serial(),
		Subject:               pkix.Name{CommonName: "lazymig CA"},
		NotBefore:             now.Add(-clockSkew),
		NotAfter:              now.Add(caValidity),
		IsCA:                  true,
		MaxPathLenZero:        true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
}

func hostTemplate(name string, now time.Time, validity time.Duration) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: serial(),
		Subject:      pkix.Name{CommonName: name},
		DNSNames:     []string{name},
		NotBefore:    now.Add(-clockSkew),
		NotAfter:     now.Add(validity),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
}

// serial returns a random positive serial number of 127 bits.
func serial() *big.Int {
	var b [16]byte
	rand.Read(b[:]) // never fails
	b[0] &= 0x7f
	b[15] |= 1
	return new(big.Int).SetBytes(b[:])
}

func encodeCertificate(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func encodeKey(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

type newFile struct {
	name string
	data []byte
}

// createFiles creates all files in dir, or none.
func createFiles(dir string, files []newFile) error {
	for i, f := range files {
		err := createFile(filepath.Join(dir, f.name), f.data)
		if err == nil {
			continue
		}
		for _, made := range files[:i] {
			err = errors.Join(err, os.Remove(filepath.Join(dir, made.name)))
		}
		return err
	}
	return nil
}

// createFile makes a file of mode 0600 that is there with all its data or not
// at all, and never replaces one: the data goes to a temporary file first,
// which then gets its name by a hard link.
func createFile(path string, data []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(f.Name())) }()
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); errors.Is(err, fs.ErrExist) {
		return &Error{kind: ErrExists, text: path + " exists", hint: "nothing was overwritten; use another folder or name, or remove the old file yourself"}
	} else if err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
