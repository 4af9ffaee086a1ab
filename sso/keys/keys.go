// Package keys holds the keys that signing in needs, each for one purpose: session
// cookies, login cookies, tickets, states, form tokens, logout hints, the audit.
//
//	root key files ── wrap ──▶ keyrings in the store ── HKDF ──▶ a key for each purpose
//	(outside the store)        sessions, tickets, audit
//
// The roots are files of 32 random bytes or more. They make nothing that leaves
// the gate: they wrap (AES-256-GCM) the keyrings in the store, so that whoever
// holds a copy of the store alone can forge nothing and unwrap nothing. A new
// root is a new file and a restart, which wraps everything anew; the old file
// can go then (Vault.Roots says when).
//
// A keyring is generations of random secrets (Vault). A new one is in the store
// a minute before it makes anything, so that every replica has it by then; the
// old one verifies until all that it made is over, and is deleted. So nobody is
// logged out by a rotation, and no replica is restarted for it. From a secret
// each purpose has its own key by HKDF-SHA256 (RFC 5869): what is made for one
// purpose is worth nothing for another.
//
// Before there were keyrings, the purposes' keys were derived from the roots.
// What those made is verified until it is over (record.Roots).
package keys

import (
	"bytes"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// ErrUnusable: the key directory holds no key, or one that must not be used.
// The text says what to do.
var ErrUnusable = errors.New("root keys are not usable")

// rootSize is the least a root key may hold.
const rootSize = 32

// idSize is the length of a key id, as text: 6 bytes in base64url.
const idSize = 8

// root is one root key. Its id is derived from it, so it tells which key made
// something and nothing about the key.
type root struct {
	id     string
	file   string // empty: it came from memory
	secret []byte
}

// Ring holds the root keys, newest first. It is immutable and safe for
// concurrent use.
type Ring struct {
	roots []root
}

// Load reads every *.key file of a directory. Each must be at least 32 random
// bytes, raw or in base64, in a file that only its owner may read. The newest
// by name signs. Any unusable file is an error: a key that is silently left
// out would log people out, or make the wrong key sign.
func Load(dir string) (*Ring, error) {
	names, err := filepath.Glob(filepath.Join(escapeGlob(dir), "*.key"))
	if err != nil {
		return nil, fmt.Errorf("%w: list %s: %w", ErrUnusable, dir, err)
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("%w: %s holds no *.key file; make one with: (umask 077; head -c 32 /dev/urandom > %s)",
			ErrUnusable, dir, filepath.Join(dir, "1.key"))
	}
	slices.Sort(names)
	slices.Reverse(names)
	var faults []error
	r := &Ring{}
	for _, name := range names {
		secret, err := readRoot(name)
		if err == nil {
			err = r.add(secret, name)
		}
		if err != nil {
			faults = append(faults, fmt.Errorf("%w: %s: %w", ErrUnusable, name, err))
		}
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	return r, nil
}

// FromSecrets makes a Ring from secrets in memory, newest first.
func FromSecrets(secrets ...[]byte) (*Ring, error) {
	if len(secrets) == 0 {
		return nil, fmt.Errorf("%w: there is none", ErrUnusable)
	}
	r := &Ring{}
	for _, s := range secrets {
		if err := checkStrength(s); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrUnusable, err)
		}
		if err := r.add(bytes.Clone(s), ""); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrUnusable, err)
		}
	}
	return r, nil
}

func (r *Ring) add(secret []byte, file string) error {
	id := idOf(secret)
	for _, other := range r.roots {
		if other.id == id {
			return errors.New("the same key is there twice; remove one of the files")
		}
	}
	r.roots = append(r.roots, root{id: id, file: file, secret: secret})
	return nil
}

// GenerateRootKey writes a new root key file into dir, made with mode 0700 if
// it is missing, and returns the file's path. Its name sorts after those that
// were generated before, so it signs from the next start on.
func GenerateRootKey(dir string) (string, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("make key directory: %w", err)
	}
	secret := make([]byte, rootSize)
	if _, err := rand.Read(secret); err != nil {
		return "", fmt.Errorf("make root key: %w", err)
	}
	path := filepath.Join(dir, time.Now().UTC().Format("20060102T150405.000000000")+".key")
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", fmt.Errorf("write root key: %w", err)
	}
	_, err = f.WriteString(base64.StdEncoding.EncodeToString(secret) + "\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return "", errors.Join(fmt.Errorf("write root key: %w", err), os.Remove(path))
	}
	return path, nil
}

// readRoot reads one file: base64 of enough bytes, or the bytes themselves.
func readRoot(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("it is not a regular file")
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, fmt.Errorf("others may read it (mode %04o); run: chmod 600 %s", mode, path)
	}
	if info.Size() > 4096 {
		return nil, errors.New("it is larger than 4096 bytes and so hardly a key")
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	secret := decode(raw)
	return secret, checkStrength(secret)
}

func decode(raw []byte) []byte {
	text := strings.TrimSpace(string(raw))
	for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
		if out, err := enc.DecodeString(text); err == nil && text != "" {
			return out
		}
	}
	return raw
}

// checkStrength refuses what cannot have come from a random source: too short,
// a pass phrase, or few distinct bytes. 32 random bytes hold fewer than 16
// distinct ones, or only printable ones, less than once in 10^13.
func checkStrength(secret []byte) error {
	const remedy = "write at least 32 bytes from /dev/urandom, raw or in base64"
	if len(secret) < rootSize {
		return fmt.Errorf("it holds %d bytes; %s", len(secret), remedy)
	}
	var seen [256]bool
	distinct, printable := 0, 0
	for _, b := range secret {
		if !seen[b] {
			seen[b] = true
			distinct++
		}
		if (b >= 0x20 && b < 0x7f) || b == '\n' || b == '\r' || b == '\t' {
			printable++
		}
	}
	switch {
	case distinct < 16:
		return fmt.Errorf("it holds only %d different bytes, so it is not random; %s", distinct, remedy)
	case printable == len(secret):
		return fmt.Errorf("it is a text, not random bytes; %s", remedy)
	}
	return nil
}

// idOf names a secret, and says nothing about it.
func idOf(secret []byte) string {
	return base64.RawURLEncoding.EncodeToString(derive(secret, "key id", 6))
}

// derive is HKDF-SHA256 with the purpose as info. Secrets are uniform, so no
// salt is needed (RFC 5869 §3.1).
func derive(secret []byte, purpose string, n int) []byte {
	out, err := hkdf.Key(sha256.New, secret, nil, "battery gate v1: "+purpose, n)
	if err != nil {
		panic(err) // n is a small constant; HKDF fails only above 255 hashes
	}
	return out
}

func escapeGlob(dir string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(dir)
}
