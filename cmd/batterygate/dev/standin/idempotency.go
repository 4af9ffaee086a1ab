package standin

import (
	"bytes"
	"crypto/sha256"
	"io"
	"net/http"
	"sync"
)

// keptAnswers bounds the answers kept for repetition.
const keptAnswers = 1000

// idempotency answers a repeated POST with what the first one was answered.
type idempotency struct {
	mu      sync.Mutex
	answers map[string]keptAnswer
	oldest  []string
}

type keptAnswer struct {
	body   [sha256.Size]byte
	status int
	answer []byte
}

func newIdempotency() *idempotency { return &idempotency{answers: map[string]keptAnswer{}} }

// wrap honours Idempotency-Key. An empty one (the Go SDK v4 sends it) is none.
// The same key with another body is refused. Errors are not kept. One key at a
// time: of two copies in flight the second gets the first one's answer.
func (i *idempotency) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key := r.Header.Get("Idempotency-Key")
		if key == "" {
			next.ServeHTTP(w, r)
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, `{"message":"Request body is too large."}`, http.StatusRequestEntityTooLarge)
			return
		}
		// The bearer belongs to the key: a stranger must not be shown an answer.
		key = r.Header.Get("Authorization") + "\n" + r.URL.Path + "\n" + key
		sum := sha256.Sum256(body)
		i.mu.Lock()
		defer i.mu.Unlock()
		kept, ok := i.answers[key]
		if !ok {
			r.Body = io.NopCloser(bytes.NewReader(body))
			rec := &recorder{header: w.Header(), status: http.StatusOK}
			next.ServeHTTP(rec, r)
			kept = keptAnswer{body: sum, status: rec.status, answer: rec.body.Bytes()}
			if rec.status < 300 {
				i.keep(key, kept)
			}
		}
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		if kept.body != sum {
			w.WriteHeader(http.StatusConflict)
			_, _ = io.WriteString(w, `{"message":"The idempotency key was used with another body.","code":"idempotency_key_reused"}`)
			return
		}
		w.WriteHeader(kept.status)
		_, _ = w.Write(kept.answer)
	})
}

func (i *idempotency) keep(key string, a keptAnswer) {
	i.answers[key], i.oldest = a, append(i.oldest, key)
	if len(i.oldest) > keptAnswers {
		delete(i.answers, i.oldest[0])
		i.oldest = i.oldest[1:]
	}
}

type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) WriteHeader(status int)      { r.status = status }
func (r *recorder) Write(b []byte) (int, error) { return r.body.Write(b) }
