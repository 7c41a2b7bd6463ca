package quictransport

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"time"
)

// clientTLS returns the TLS side of a dial. The certificate of the other side
// is checked against the CA, and by its name if peer is set; DNS names and
// addresses play no part.
func (id *Identity) clientTLS(peer string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: []string{alpn},
		// The certificate goes out whatever CAs the other side names: then it
		// says what is wrong with it instead of finding none.
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return &id.certificate, nil
		},
		// Replaced by VerifyConnection, which knows no host names.
		InsecureSkipVerify: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			if err := id.verifyChain(state, x509.ExtKeyUsageServerAuth); err != nil {
				return err
			}
			return checkPeerName(state, peer)
		},
	}
}

// serverTLS returns the TLS side of a listener. The chain of the client is
// checked by crypto/tls itself, whose alerts tell the client what is wrong.
func (id *Identity) serverTLS(peer string) *tls.Config {
	auth := tls.RequireAndVerifyClientCert
	if id.Insecure {
		auth = tls.RequireAnyClientCert
	}
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		NextProtos:             []string{alpn},
		Certificates:           []tls.Certificate{id.certificate},
		ClientAuth:             auth,
		ClientCAs:              id.roots,
		SessionTicketsDisabled: true,
		VerifyConnection:       func(state tls.ConnectionState) error { return checkPeerName(state, peer) },
	}
}

// verifyChain checks that the peer's certificate leads to the CA and may be
// used as usage.
func (id *Identity) verifyChain(state tls.ConnectionState, usage x509.ExtKeyUsage) error {
	if id.Insecure {
		return nil
	}
	between := x509.NewCertPool()
	for _, c := range state.PeerCertificates[1:] {
		between.AddCert(c)
	}
	_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{
		Roots:         id.roots,
		Intermediates: between,
		CurrentTime:   time.Now(),
		KeyUsages:     []x509.ExtKeyUsage{usage},
	})
	if err == nil {
		return nil
	}
	if e := explainCertificate(err); e != nil {
		return e
	}
	return &Error{kind: ErrIdentity, text: "the other side's certificate is not valid", cause: err, hint: "issue a new one with `lazymig cert issue`"}
}

func checkPeerName(state tls.ConnectionState, want string) error {
	name := peerName(state.PeerCertificates[0])
	if want == "" || name == want {
		return nil
	}
	return &Error{
		kind: ErrPeerName, text: fmt.Sprintf("the other side is %q, not %q", name, want),
		hint: "check the address and --peer",
	}
}
