package quictransport

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// The files of an identity. A host's pair is NAME.crt and NAME.key.
const (
	caCertFile    = "ca.crt"
	caKeyFile     = "ca.key"
	domainKeyFile = "domain.key"
	// preferredPair is taken when a folder has several pairs.
	preferredPair = "host"
)

const missingHint = "run `lazymig cert ca` once, `lazymig cert issue NAME` for each host, and copy ca.crt, domain.key, NAME.crt and NAME.key to that host"

// LoadIdentity reads the identity in the folder dir: ca.crt, domain.key and
// one pair NAME.crt and NAME.key. Of several pairs it takes host.crt. The
// error wraps ErrNoIdentity, ErrIdentity, ErrPermissions, ErrExpired or
// ErrNotYetValid and says what to do.
func LoadIdentity(dir string) (*Identity, error) {
	id, err := loadIdentity(dir, time.Now())
	if err != nil {
		return nil, fmt.Errorf("load identity: %w", err)
	}
	return id, nil
}

func loadIdentity(dir string, now time.Time) (*Identity, error) {
	ca, err := readCertificate(filepath.Join(dir, caCertFile))
	if err != nil {
		return nil, err
	}
	if err := validityError(filepath.Join(dir, caCertFile), ca, now); err != nil {
		return nil, err
	}
	id := &Identity{roots: x509.NewCertPool()}
	id.roots.AddCert(ca)
	if id.DomainKey, err = readDomainKey(filepath.Join(dir, domainKeyFile)); err != nil {
		return nil, err
	}
	name, err := findPair(dir)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, name)
	cert, err := readCertificate(path + ".crt")
	if err != nil {
		return nil, err
	}
	key, err := readKey(path + ".key")
	if err != nil {
		return nil, err
	}
	if err := checkPair(path, cert, key, ca, now); err != nil {
		return nil, err
	}
	id.Name = peerName(cert)
	id.certificate = tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}
	return id, nil
}

// checkPair checks that certificate, key and CA belong together and that the
// certificate is valid now.
func checkPair(path string, cert *x509.Certificate, key crypto.Signer, ca *x509.Certificate, now time.Time) error {
	public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(cert.PublicKey) {
		return &Error{
			kind: ErrIdentity, text: fmt.Sprintf("%s.key is not the key of %s.crt", path, path),
			hint: "copy both files of the pair again, or issue a new pair with `lazymig cert issue`",
		}
	}
	if err := validityError(path+".crt", cert, now); err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth} {
		_, err := cert.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{usage}})
		if err != nil {
			return &Error{
				kind: ErrIdentity, text: fmt.Sprintf("%s.crt is no certificate of the CA in %s", path, filepath.Join(filepath.Dir(path), caCertFile)), cause: err,
				hint: "copy ca.crt and the pair from the same CA",
			}
		}
	}
	return nil
}

// findPair returns the NAME of the pair NAME.crt, NAME.key in dir.
func findPair(dir string) (string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", readError(dir, err)
	}
	var names []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".crt"); ok && e.Name() != caCertFile {
			names = append(names, name)
		}
	}
	switch {
	case len(names) == 0:
		return "", &Error{kind: ErrNoIdentity, text: fmt.Sprintf("%s has no certificate of this host, NAME.crt", dir), hint: missingHint}
	case len(names) == 1:
		return names[0], nil
	case slices.Contains(names, preferredPair):
		return preferredPair, nil
	}
	return "", &Error{
		kind: ErrIdentity, text: fmt.Sprintf("%s has certificates of several hosts: %s", dir, strings.Join(names, ", ")),
		hint: "give each host a folder with ca.crt, domain.key and its own pair only, or name this host's pair host.crt and host.key",
	}
}

func readError(path string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return &Error{kind: ErrNoIdentity, text: path + " is missing", hint: missingHint}
	}
	return &Error{kind: ErrIdentity, text: "cannot read " + path, cause: err, hint: "check the owner and the mode of the file"}
}

// readPEM returns the bytes of the only PEM block in a file.
func readPEM(path, kind string) ([]byte, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, readError(path, err)
	}
	block, _ := pem.Decode(text)
	if block == nil || block.Type != kind {
		return nil, damaged(path, fmt.Errorf("no PEM block %q", kind))
	}
	return block.Bytes, nil
}

func damaged(path string, err error) error {
	return &Error{kind: ErrIdentity, text: path + " is damaged", cause: err, hint: "copy it again"}
}

func readCertificate(path string) (*x509.Certificate, error) {
	der, err := readPEM(path, "CERTIFICATE")
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, damaged(path, err)
	}
	return cert, nil
}

func readKey(path string) (crypto.Signer, error) {
	if err := checkMode(path); err != nil {
		return nil, err
	}
	der, err := readPEM(path, "PRIVATE KEY")
	if err != nil {
		return nil, err
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, damaged(path, err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, damaged(path, fmt.Errorf("%T cannot sign", key))
	}
	return signer, nil
}

// LoadDomainKey reads the key of page digests alone: the file domain.key, or
// another with 64 hexadecimal digits that only its owner may read. The error is
// one of those of LoadIdentity.
func LoadDomainKey(path string) (key [32]byte, err error) {
	if key, err = readDomainKey(path); err != nil {
		return key, fmt.Errorf("load domain key: %w", err)
	}
	return key, nil
}

func readDomainKey(path string) (key [32]byte, err error) {
	if err := checkMode(path); err != nil {
		return key, err
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return key, readError(path, err)
	}
	raw, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil {
		return key, damaged(path, err)
	}
	if len(raw) != len(key) {
		return key, damaged(path, fmt.Errorf("%d bytes, want %d as hexadecimal digits", len(raw), len(key)))
	}
	return [32]byte(raw), nil
}

// checkMode refuses a key that anybody but its owner may read or change.
func checkMode(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return readError(path, err)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return &Error{kind: ErrPermissions, text: fmt.Sprintf("%s has mode %04o and is open to others", path, mode), hint: "chmod 600 " + path}
	}
	return nil
}
