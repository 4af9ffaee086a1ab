package standin

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"fmt"
	"math/big"
	"net/http"
	"time"
)

// jwks is the set of the client's public keys. WorkOS signs AuthKit's access
// tokens with them; standalone SSO, all that this speaks, has none, so the
// private half is thrown away.
type jwks struct {
	Keys []map[string]any `json:"keys"`
}

func (s *Server) jwks(w http.ResponseWriter, r *http.Request) {
	if r.PathValue("client") != s.opt.ClientID {
		s.answer(w, 0, nil, notFound("Client", r.PathValue("client")))
		return
	}
	keys, err := s.keys()
	s.answer(w, http.StatusOK, keys, err)
}

func newJWKS() (jwks, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return jwks{}, fmt.Errorf("make a key: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "WorkOS stand-in"},
		NotBefore: worldStart().Time, NotAfter: worldStart().AddDate(100, 0, 0),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return jwks{}, fmt.Errorf("make a certificate: %w", err)
	}
	sum := sha256.Sum256(der)
	return jwks{Keys: []map[string]any{{
		"alg": "RS256", "kty": "RSA", "use": "sig",
		"x5c":      []string{base64.StdEncoding.EncodeToString(der)},
		"x5t#S256": base64.RawURLEncoding.EncodeToString(sum[:]),
		"n":        base64.RawURLEncoding.EncodeToString(key.N.Bytes()),
		"e":        base64.RawURLEncoding.EncodeToString(big.NewInt(int64(key.E)).Bytes()),
		"kid":      newID("key_", time.Now().UnixMilli()),
	}}}, nil
}
