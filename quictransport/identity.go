package quictransport

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"time"
)

// Identity is who this host is to others: its certificate and key, the CA
// whose certificates it accepts, and the key of page digests that all hosts of
// the CA share. LoadIdentity and InsecureLoopback make one.
type Identity struct {
	// Name is the name in the host's certificate.
	Name string
	// DomainKey is the key of page digests.
	DomainKey [32]byte
	// Insecure says that there is no CA: only loopback addresses are allowed,
	// and any peer on them is.
	Insecure bool

	certificate tls.Certificate
	roots       *x509.CertPool // nil if Insecure
}

// loopbackName is the name of every side that runs without identities.
const loopbackName = "insecure-loopback"

// loopbackValidity outlasts any process that runs without identities.
const loopbackValidity = 365 * 24 * time.Hour

// InsecureLoopback returns an identity for tests and demos on one host: a
// throw-away certificate and a random domain key. Both sides of a link must
// have one, and both refuse addresses that are not loopback. The source takes
// over the domain key of the destination, Welcome.DomainKey.
func InsecureLoopback() (*Identity, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make throw-away key: %w", err)
	}
	template := hostTemplate(loopbackName, time.Now(), loopbackValidity)
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		return nil, fmt.Errorf("make throw-away certificate: %w", err)
	}
	id := &Identity{
		Name:        loopbackName,
		Insecure:    true,
		certificate: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private},
	}
	if _, err := rand.Read(id.DomainKey[:]); err != nil {
		return nil, fmt.Errorf("make domain key: %w", err)
	}
	return id, nil
}

// Expires returns when the identity ends to be valid: the certificate never
// outlives its CA. It is the zero time if Insecure.
func (id *Identity) Expires() time.Time {
	if id.Insecure {
		return time.Time{}
	}
	return id.certificate.Leaf.NotAfter
}

// keyCheck returns what shows that a side has the domain key, for one session.
// It is zero for a side without identities, which has no key to compare.
func (id *Identity) keyCheck(session [16]byte) (sum [32]byte) {
	if id.Insecure {
		return sum
	}
	mac := hmac.New(sha256.New, id.DomainKey[:])
	mac.Write(session[:])
	mac.Write([]byte(alpn + " key check"))
	mac.Sum(sum[:0])
	return sum
}

// peerName returns the name in a certificate: the first DNS name, else the
// common name.
func peerName(cert *x509.Certificate) string {
	if len(cert.DNSNames) > 0 {
		return cert.DNSNames[0]
	}
	return cert.Subject.CommonName
}
