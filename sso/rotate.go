package sso

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"battery.app/gate/sso/keys"
)

// The purposes that keys are kept and rotated for.
const (
	PurposeAssertions = "assertions" // what apps get about a decision
	PurposeSessions   = keys.Sessions
	PurposeTickets    = keys.Tickets
)

var (
	// ErrRotating: a new key of that purpose was made a moment ago and does not
	// sign yet.
	ErrRotating = keys.ErrRotating
	// ErrUnknownPurpose: there are no keys of that purpose.
	ErrUnknownPurpose = errors.New("sso: there are no keys of that purpose")
)

var purposes = [...]string{PurposeAssertions, PurposeSessions, PurposeTickets}

// RotatePurpose makes a new key for a purpose. Nobody is logged out by it: the
// new key is in the store before it signs (assertions: ten minutes, else one),
// and the old one verifies until all that it signed is over. Every replica
// follows by what it hears of the store. It fails with ErrRotating or
// ErrUnknownPurpose.
func (s *Service) RotatePurpose(ctx context.Context, purpose string) error {
	_, err := s.rotate(ctx, purpose, 0)
	return err
}

// RotateOlder makes a new key for every purpose whose newest began to sign
// longer ago than age, deletes keys that nothing can need any more, and reports
// whether it made one. The first assertion key of all counts as old. A purpose
// that fails does not keep the others from it.
func (s *Service) RotateOlder(ctx context.Context, age time.Duration) (bool, error) {
	any := false
	var faults []error
	for _, p := range purposes {
		did, err := s.rotate(ctx, p, age)
		any = any || did
		if err != nil && !errors.Is(err, ErrRotating) {
			faults = append(faults, err)
		}
	}
	return any, errors.Join(append(faults, s.signer.prune(ctx), s.vault.Prune(ctx))...)
}

func (s *Service) rotate(ctx context.Context, purpose string, age time.Duration) (did bool, err error) {
	switch purpose {
	case PurposeAssertions:
		did, err = s.signer.rotate(ctx, age)
	case PurposeSessions, PurposeTickets:
		did, err = s.vault.Rotate(ctx, purpose, age)
	default:
		return false, fmt.Errorf("%w: %q; there are %q", ErrUnknownPurpose, purpose, purposes)
	}
	if did {
		s.log.InfoContext(ctx, "a new key was made; it signs shortly", "purpose", purpose)
	}
	return did, err
}

// KeyInfo is a key that signs, is about to, or did. There is nothing secret in
// it: the id stands in what it signs.
type KeyInfo struct {
	Purpose   string
	ID        string
	State     string    // "next", "signing" or "verifying"
	Created   time.Time // zero: not known
	SignsFrom time.Time // zero: from the beginning
	// RetiresAt is when it stops verifying and may be deleted; nil while nothing
	// is to take its place.
	RetiresAt *time.Time
}

// KeyInfo lists the keys of all purposes as the store has them, newest first
// within a purpose.
func (s *Service) KeyInfo(ctx context.Context) ([]KeyInfo, error) {
	out, err := s.signer.info(ctx)
	if err != nil {
		return nil, err
	}
	for _, p := range []string{PurposeSessions, PurposeTickets} {
		list, err := s.vault.Info(ctx, p)
		if err != nil {
			return nil, err
		}
		for _, k := range list {
			out = append(out, KeyInfo{Purpose: p, ID: k.ID, State: k.State, Created: k.Created, SignsFrom: k.SignsFrom, RetiresAt: k.RetiresAt})
		}
	}
	return out, nil
}

func (g *signer) info(ctx context.Context) ([]KeyInfo, error) {
	e, err := g.store.Get(ctx, signerKey)
	if err != nil {
		return nil, fmt.Errorf("read assertion keys: %w", err)
	}
	k, err := readKeyring(g.sealer, e.Value)
	if err != nil {
		return nil, fmt.Errorf("read assertion keys: %w", err)
	}
	now := g.now()
	signing := k.signing(now).public.KeyID
	var out []KeyInfo
	state := keys.StateNext
	for i := len(k) - 1; i >= 0; i-- {
		w := k[i].wrapped
		info := KeyInfo{Purpose: PurposeAssertions, ID: k[i].public.KeyID, State: state, Created: w.Made, SignsFrom: w.From}
		if w.Made.IsZero() && !w.From.IsZero() {
			info.Created = w.From.Add(-publishLead)
		}
		if i+1 < len(k) {
			until := k[i+1].wrapped.From.Add(assertionLife + retireGrace)
			info.RetiresAt = &until
		}
		if info.ID == signing {
			info.State, state = keys.StateSigning, keys.StateVerifying
		}
		out = append(out, info)
	}
	return out, nil
}

// RootKeys lists the root keys of session.keys_dir, newest first, and what each
// is still needed for. One that is not Needed may be removed.
func (s *Service) RootKeys(ctx context.Context) ([]keys.RootInfo, error) {
	return s.vault.Roots(ctx)
}

// openKeys reads every key from the store, or makes the first, wraps all by the
// newest root key, and says what the other roots are still for.
func openKeys(ctx context.Context, o Options, issuer string) (*signer, func([]byte) []byte, error) {
	vault := o.Sessions.vault
	// Before the assertion keys: without them the store counts as empty.
	if err := vault.Open(ctx); err != nil {
		return nil, nil, err
	}
	audit, err := o.Keys.AuditMAC(ctx, o.Store)
	if err != nil {
		return nil, nil, err
	}
	sign, err := openSigner(ctx, o.Store, o.Keys, issuer, o.Now, o.Log)
	if err != nil {
		return nil, nil, err
	}
	return sign, audit, tellRoots(ctx, vault, o.Now(), o.Log)
}

// tellRoots says at start-up, when everything in the store is wrapped anew, which
// root keys' files may be removed and which are still needed.
func tellRoots(ctx context.Context, v *keys.Vault, now time.Time, log *slog.Logger) error {
	roots, err := v.Roots(ctx)
	if err != nil {
		return fmt.Errorf("look which root keys are needed: %w", err)
	}
	for _, r := range roots[1:] {
		switch {
		case !r.Needed(now):
			log.InfoContext(ctx, "this root key is not needed any more; its file may be removed from every replica", "id", r.ID, "file", r.File)
		case r.Wraps:
			log.WarnContext(ctx, "this root key still wraps keys in the store; keep its file", "id", r.ID, "file", r.File)
		default:
			log.InfoContext(ctx, "this root key still verifies cookies of an earlier version; keep its file until then", "id", r.ID, "file", r.File, "until", r.VerifiesUntil)
		}
	}
	return nil
}

// AuditMAC returns HMAC-SHA256 under the audit's own key, which stays the same
// for the life of the store (keys.Ring.AuditMAC).
func (s *Service) AuditMAC() func(data []byte) []byte { return s.audit }
