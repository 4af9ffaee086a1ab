package machines

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"time"
)

// fetchTimeout bounds one fetch of a key set, the reading of its body included.
const fetchTimeout = 10 * time.Second

// want asks for the issuer's keys. It never blocks: a wish that is already
// waiting is enough.
func (i *issuer) want() {
	select {
	case i.wanted <- struct{}{}:
	default:
	}
}

// Run keeps every issuer's keys until the context ends, and returns nil then.
// Keys are fetched at once, then every Refresh, and sooner where a token names a
// key that is not known or the last fetch failed; never more often than once in
// MinRefresh, so that neither an attacker nor an outage makes us a burden.
func (v *Verifier) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for _, i := range v.issuers {
		wg.Go(func() { v.follow(ctx, i) })
	}
	wg.Wait()
	return nil
}

func (v *Verifier) follow(ctx context.Context, i *issuer) {
	wait := time.NewTimer(0)
	defer wait.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-wait.C:
		case <-i.wanted:
			if !pause(ctx, v.opt.MinRefresh-v.opt.Now().Sub(time.Unix(0, i.tried.Load()))) {
				return
			}
		}
		next := v.opt.Refresh
		if err := v.refresh(ctx, i); err != nil {
			if ctx.Err() != nil {
				return
			}
			next = v.opt.MinRefresh
			v.opt.Log.WarnContext(ctx, "keys of a token issuer cannot be fetched; those known before still hold",
				"issuer", i.URL, "max_stale", v.opt.MaxStale, "error", err)
		}
		select { // what was wished for during the fetch is answered by it
		case <-i.wanted:
		default:
		}
		wait.Reset(next)
	}
}

// pause waits, and reports false if the context ended meanwhile.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// refresh reads the issuer's keys once. A set that has not changed stays the same
// value, so that what was verified with it stays verified; one that cannot be
// read leaves the last one in place.
func (v *Verifier) refresh(ctx context.Context, i *issuer) error {
	at := v.opt.Now()
	i.tried.Store(at.UnixNano())
	text, err := v.read(ctx, i)
	if err == nil {
		var set *keySet
		if set, err = parseKeySet(text); err == nil {
			if last := i.keys.Load(); last != nil && last.set.raw == set.raw {
				set = last.set
			} else {
				v.opt.Log.InfoContext(ctx, "keys of a token issuer are known", "issuer", i.URL, "keys", set.count, "revision", i.revision())
			}
			i.keys.Store(&fetched{set: set, at: at})
			i.broken.Store(nil)
			return nil
		}
	}
	why := err.Error()
	i.broken.Store(&why)
	return err
}

func (v *Verifier) read(ctx context.Context, i *issuer) ([]byte, error) {
	if i.JWKSFile != "" {
		f, err := os.Open(i.JWKSFile)
		if err != nil {
			return nil, fmt.Errorf("read key set: %w", err)
		}
		defer func() { _ = f.Close() }() // it was only read
		return capped(f)
	}
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, i.JWKSURL, nil)
	if err != nil {
		return nil, fmt.Errorf("fetch key set: %w", err)
	}
	r.Header.Set("Accept", "application/jwk-set+json, application/json")
	answer, err := v.opt.Client.Do(r)
	if err != nil {
		return nil, fmt.Errorf("fetch key set: %w", err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("fetch key set: the issuer answered %d", answer.StatusCode)
	}
	return capped(answer.Body)
}

func capped(r io.Reader) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxKeySet+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read key set: %w", err)
	case len(text) > maxKeySet:
		return nil, errors.New("read key set: it is too large")
	}
	return text, nil
}
