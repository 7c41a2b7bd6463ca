package migrations

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"path/filepath"
	"time"
)

// tlsObject is the name of QEMU's object with the certificates.
const tlsObject = "tls0"

// credentials are a CA and one certificate for each end of QEMU's stream, in
// the files that QEMU looks for. All methods do nothing for nil.
type credentials struct{ source, destination end }

// newCredentials makes the certificates in the folders of both hosts.
func newCredentials(source, destination end) (*credentials, error) {
	c := &credentials{source: source, destination: destination}
	for _, e := range []end{source, destination} {
		if err := e.host.Mkdir(e.dir); err != nil {
			return nil, fmt.Errorf("make a folder for certificates: %w", err)
		}
	}
	ca, key, err := c.issue("ca-cert.pem", "", nil, nil)
	if err != nil {
		return nil, fmt.Errorf("make a CA for QEMU: %w", err)
	}
	for _, name := range []string{"server", "client"} {
		if _, _, err := c.issue(name+"-cert.pem", name+"-key.pem", ca, key); err != nil {
			return nil, fmt.Errorf("make QEMU's certificate of the %s: %w", name, err)
		}
	}
	return c, nil
}

// issue makes a certificate of the CA, or the CA if there is none.
func (c *credentials) issue(file, keyFile string, ca *x509.Certificate, caKey *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: file},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(certificateDays),
		BasicConstraintsValid: true,
	}
	if ca == nil {
		template.IsCA, template.KeyUsage = true, x509.KeyUsageCertSign
		ca, caKey = template, key
	} else {
		template.KeyUsage = x509.KeyUsageDigitalSignature
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
		for _, e := range []end{c.source, c.destination} {
			template.IPAddresses = append(template.IPAddresses, net.ParseIP(e.host.Address()))
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca, &key.PublicKey, caKey)
	if err != nil {
		return nil, nil, err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	err = c.write(file, "CERTIFICATE", der)
	if keyFile != "" {
		err = errors.Join(err, c.write(keyFile, "PRIVATE KEY", secret))
	}
	return template, key, err
}

func (c *credentials) write(name, kind string, content []byte) error {
	text := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: content})
	var problems []error
	for _, e := range []end{c.source, c.destination} {
		problems = append(problems, e.host.Write(filepath.Join(e.dir, name), text, 0o600))
	}
	return errors.Join(problems...)
}

// server returns the options of a QEMU that waits for a guest.
func (c *credentials) server() []string {
	if c == nil {
		return nil
	}
	return []string{"-object", "tls-creds-x509,id=" + tlsObject + ",endpoint=server,verify-peer=on,dir=" + c.destination.dir}
}

// use has both ends use the certificates.
func (c *credentials) use(ctx context.Context, source, destination *monitor) error {
	if c == nil {
		return nil
	}
	object := map[string]any{"qom-type": "tls-creds-x509", "id": tlsObject, "endpoint": "client", "verify-peer": true, "dir": c.source.dir}
	if err := source.Execute(ctx, "object-add", object, nil); err != nil {
		return err
	}
	for _, m := range []*monitor{source, destination} {
		if err := m.Execute(ctx, "migrate-set-parameters", map[string]any{"tls-creds": tlsObject}, nil); err != nil {
			return err
		}
	}
	return nil
}
