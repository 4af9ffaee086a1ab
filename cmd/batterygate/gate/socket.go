package gate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"battery.app/gate/authz/engine"
	"battery.app/gate/cmd/batterygate/api"
	"battery.app/gate/cmd/batterygate/audit"
	"battery.app/gate/sso/keys"
	"battery.app/gate/store/boltstore"
)

// maxSocketPath is the longest path a Unix socket can have on Linux, less its
// terminator.
const maxSocketPath = 107

// TokenRequest asks for a token on the host itself.
type TokenRequest struct {
	Name   string        `json:"name"`
	Scopes []string      `json:"scopes"`
	TTL    time.Duration `json:"ttl"`
	// BreakGlass asks for one that goes past the admin policy, for an hour at most.
	BreakGlass bool `json:"break_glass"`
}

// ErrNoServer: a break-glass token was asked for, and no server runs that could
// make and record it.
var ErrNoServer = errors.New("no running server answers on the local socket; a break-glass token is made by a running server alone")

// TokenAnswer is the token, with its secret, which is told once.
type TokenAnswer struct {
	api.Token
	Secret string `json:"token"`
}

// SocketPath is where the server of a store listens for its host's own verbs.
func SocketPath(storeURL string) string {
	return filepath.Join(filepath.Dir(strings.TrimPrefix(storeURL, "bolt:")), "batterygate.sock")
}

// openSocket listens beside the store, for whoever may read the store anyway:
// the file mode is what authenticates.
func (g *Gate) openSocket(context.Context) error {
	path := SocketPath(g.cfg.Store)
	if len(path) > maxSocketPath {
		g.Log.Warn("no local socket: the path of the store is too long for one; 'token create' works while the server is stopped", "path", path)
		return nil
	}
	// The store's lock says that no other server lives here; what is left is
	// the socket of one that was killed.
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove stale socket: %w", err)
	}
	l, err := listenPrivate(path)
	if err != nil {
		return fmt.Errorf("listen on local socket: %w", err)
	}
	g.onClose(func() error { _ = l.Close(); return nil })
	maker := hostTokens{tokens: g.Tokens, audit: g.audit, log: g.Log}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /tokens", func(w http.ResponseWriter, r *http.Request) {
		var in TokenRequest
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<16)).Decode(&in); err != nil {
			http.Error(w, "the request is not JSON", http.StatusBadRequest)
			return
		}
		out, err := maker.create(r.Context(), in)
		if err != nil {
			http.Error(w, err.Error(), http.StatusUnprocessableEntity)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(out)
	})
	g.serve(l, mux)
	return nil
}

// hostTokens makes tokens for whoever is on the host.
type hostTokens struct {
	tokens *api.Tokens
	audit  *audit.Log // nil: the server does not run and its keys are not known
	log    *slog.Logger
}

// create records the act before it does it: a token that nobody can see was made
// must not be.
func (h hostTokens) create(ctx context.Context, in TokenRequest) (TokenAnswer, error) {
	if h.audit == nil {
		return h.make(ctx, in)
	}
	pending, err := h.audit.Begin(ctx, audit.Act{
		Actor: engine.Actor{Kind: "host", ID: "local"}, Action: "tokens.create", Resource: engine.Resource{Type: "token"}, Request: in,
	})
	if err != nil {
		return TokenAnswer{}, fmt.Errorf("the act could not be recorded, so it was not done: %w", err)
	}
	out, err := h.make(ctx, in)
	outcome := audit.Outcome{Result: audit.Done, After: out.Token}
	if err != nil {
		outcome = audit.Outcome{Result: audit.Failed, Detail: err.Error()}
	}
	if ended := pending.End(ctx, outcome); ended != nil {
		h.log.ErrorContext(ctx, "the outcome of an act could not be recorded", "seq", pending.Seq(), "error", ended)
	}
	return out, err
}

func (h hostTokens) make(ctx context.Context, in TokenRequest) (out TokenAnswer, err error) {
	if !in.BreakGlass {
		out.Token, out.Secret, err = h.tokens.Create(ctx, in.Name, in.Scopes, in.TTL)
		return out, err
	}
	out.Token, out.Secret, err = h.tokens.CreateBreakGlass(ctx, in.Name, in.TTL)
	if err == nil {
		h.log.WarnContext(ctx, "break-glass token created on the host", "token_id", out.ID, "expires_at", out.ExpiresAt)
	}
	return out, err
}

// listenPrivate binds a socket that was never, not for an instant, open to
// others: it is made in a folder of its own with mode 0700, then moved.
func listenPrivate(path string) (net.Listener, error) {
	dir, err := os.MkdirTemp(filepath.Dir(path), ".s")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	tmp := filepath.Join(dir, "s")
	l, err := net.Listen("unix", tmp)
	if err != nil {
		return nil, err
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := errors.Join(os.Chmod(tmp, 0o600), os.Rename(tmp, path)); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// CreateToken makes a token for the server of this store: through its socket if
// it runs, in the store's file if not. keysDir, where it is known, lets the act be
// recorded in the audit in that case too; it is session.keys_dir.
func CreateToken(ctx context.Context, storeURL, keysDir string, in TokenRequest, now func() time.Time) (TokenAnswer, error) {
	out, err := askSocket(ctx, SocketPath(storeURL), in)
	if err == nil || !errors.Is(err, errNobodyListens) {
		return out, err
	}
	if in.BreakGlass {
		return TokenAnswer{}, ErrNoServer
	}
	st, err := boltstore.Open(strings.TrimPrefix(storeURL, "bolt:"), boltstore.Options{})
	if err != nil {
		return TokenAnswer{}, err
	}
	defer st.Close()
	maker := hostTokens{tokens: &api.Tokens{Store: st, Now: now}, log: slog.New(slog.DiscardHandler)}
	if keysDir != "" {
		ring, err := keys.Load(keysDir)
		if err != nil {
			return TokenAnswer{}, fmt.Errorf("session.keys_dir: %w", err)
		}
		if maker.audit, err = newAudit(ctx, ring, st, now, maker.log); err != nil {
			return TokenAnswer{}, err
		}
	}
	return maker.create(ctx, in)
}

var errNobodyListens = errors.New("no server listens on the local socket")

func askSocket(ctx context.Context, path string, in TokenRequest) (out TokenAnswer, err error) {
	body, err := json.Marshal(in)
	if err != nil {
		return out, fmt.Errorf("encode request: %w", err)
	}
	var d net.Dialer
	c := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return d.DialContext(ctx, "unix", path) },
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://batterygate/tokens", strings.NewReader(string(body)))
	if err != nil {
		return out, fmt.Errorf("make request: %w", err)
	}
	resp, err := c.Do(req)
	if err != nil {
		return out, errors.Join(errNobodyListens, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		msg := make([]byte, 512)
		n, _ := resp.Body.Read(msg)
		return out, fmt.Errorf("the server refused: %s", strings.TrimSpace(string(msg[:n])))
	}
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
		return out, fmt.Errorf("decode answer: %w", err)
	}
	return out, nil
}
