package listen

import (
	"crypto/tls"
	"fmt"
	"os"
	"sync"
	"time"
)

// certificateLook is how often the files of a certificate are looked at.
const certificateLook = 10 * time.Second

// Certificate is a server's certificate and key from files, which are read again
// when they change: whoever renews them need not restart the server. A pair that
// cannot be read leaves the one before in use.
type Certificate struct {
	cert, key string
	now       func() time.Time
	failed    func(error) // told why a changed pair is not used

	mu      sync.Mutex
	current *tls.Certificate
	stamp   [2]time.Time // of the files that current was read from
	looked  time.Time
}

// LoadCertificate reads a PEM certificate chain and its key. failed is told later
// of changed files that cannot be used.
func LoadCertificate(certFile, keyFile string, now func() time.Time, failed func(error)) (*Certificate, error) {
	c := &Certificate{cert: certFile, key: keyFile, now: now, failed: failed}
	if err := c.read(); err != nil {
		return nil, err
	}
	return c, nil
}

// Config is a server's TLS configuration with this certificate.
func (c *Certificate) Config() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: c.get}
}

func (c *Certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := c.now(); now.Sub(c.looked) >= certificateLook {
		c.looked = now
		if stamp, err := c.stamps(); err == nil && stamp != c.stamp {
			if err := c.read(); err != nil {
				c.failed(err)
			}
		}
	}
	return c.current, nil
}

func (c *Certificate) read() error {
	stamp, err := c.stamps()
	if err != nil {
		return err
	}
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err != nil {
		return fmt.Errorf("read certificate: %w", err)
	}
	c.current, c.stamp = &pair, stamp
	return nil
}

func (c *Certificate) stamps() (out [2]time.Time, err error) {
	for i, name := range []string{c.cert, c.key} {
		info, err := os.Stat(name)
		if err != nil {
			return out, fmt.Errorf("read certificate: %w", err)
		}
		out[i] = info.ModTime()
	}
	return out, nil
}
