package listen_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"battery.app/gate/cmd/batterygate/listen"
)

// pair writes a certificate of this name and its key, at a time of change.
func pair(t *testing.T, dir, name string, at time.Time) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: at.Add(-time.Hour), NotAfter: at.Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

func TestARenewedCertificateIsUsedWithoutARestartAndABrokenOneIsNot(t *testing.T) {
	dir, now, failures := t.TempDir(), time.Now(), 0
	cert, key := pair(t, dir, "first", now)
	c, err := listen.LoadCertificate(cert, key, func() time.Time { return now }, func(error) { failures++ })
	if err != nil {
		t.Fatal(err)
	}
	in := func(want string) {
		t.Helper()
		now = now.Add(time.Minute)
		got, err := c.Config().GetCertificate(nil)
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := x509.ParseCertificate(got.Certificate[0])
		if err != nil || leaf.Subject.CommonName != want {
			t.Errorf("%s is in use, want %s (%v)", leaf.Subject.CommonName, want, err)
		}
	}
	in("first")
	pair(t, dir, "second", now.Add(time.Second))
	in("second")
	if err := os.WriteFile(key, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	in("second")
	if failures == 0 {
		t.Error("nobody was told that the new key cannot be used")
	}
	if _, err := listen.LoadCertificate(cert, key, time.Now, nil); err == nil {
		t.Error("nonsense was loaded")
	}
}
