package forward

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
)

// ClientTLS returns a copy of a server's TLS configuration that lets in only
// clients with a certificate of the authorities in caPEM, for a listener of the
// doors whose Options say ClientCertificate: HTTP and gRPC alike. base holds the
// server's own certificate and is not changed; nil stands for an empty one. An
// error says what of caPEM is no certificate of an authority: a bundle of which
// half is ignored would trust others than it says.
func ClientTLS(base *tls.Config, caPEM []byte) (*tls.Config, error) {
	pool, n := x509.NewCertPool(), 0
	for rest := caPEM; ; n++ {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("read client authorities: block %d is a %s, no certificate", n+1, block.Type)
		}
		ca, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("read client authorities: certificate %d: %w", n+1, err)
		}
		if !ca.BasicConstraintsValid || !ca.IsCA {
			return nil, fmt.Errorf("read client authorities: certificate %d (%q) is not an authority's", n+1, ca.Subject.CommonName)
		}
		pool.AddCert(ca)
	}
	if n == 0 {
		return nil, errors.New("read client authorities: no certificate found")
	}
	out := &tls.Config{MinVersion: tls.VersionTLS12}
	if base != nil {
		out = base.Clone()
		out.MinVersion = max(out.MinVersion, tls.VersionTLS12)
	}
	out.ClientAuth, out.ClientCAs = tls.RequireAndVerifyClientCert, pool
	return out, nil
}
