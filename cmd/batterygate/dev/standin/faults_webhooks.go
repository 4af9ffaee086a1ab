package standin

import "time"

// webhookFaults are what goes wrong with webhooks. A number counts down, one
// webhook (or one attempt) after the other. Of an event:
type webhookFaults struct {
	Drop      int  `json:"drop"`      // it is lost: never sent, never retried
	Duplicate int  `json:"duplicate"` // it is sent twice
	Replay    int  `json:"replay"`    // it is sent once more, after a later one
	DelayMS   int  `json:"delay_ms"`  // each is late by so much
	Reorder   bool `json:"reorder"`   // every two are swapped

	// Of an attempt to send it; the next attempt is the retry.
	Error          int `json:"error"`           // the connection breaks after half of the body
	WrongJSON      int `json:"wrong_json"`      // the body's last byte is missing; signed as it is
	WrongSignature int `json:"wrong_signature"` // signed with another secret
}

func (f webhookFaults) sound() bool {
	return min(f.Drop, f.Duplicate, f.Replay, f.DelayMS, f.Error, f.WrongJSON, f.WrongSignature) >= 0
}

// countDown takes one off, if there is one.
func countDown(n *int) bool {
	if *n <= 0 {
		return false
	}
	*n--
	return true
}

func (f *faultTable) webhook() webhookFaults {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.webhooks
}

// oneWebhook is what goes wrong with one event.
type oneWebhook struct {
	drop, duplicate, replay bool
	delay                   time.Duration
}

func (f *faultTable) takeWebhook() oneWebhook {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := oneWebhook{delay: time.Duration(f.webhooks.DelayMS) * time.Millisecond}
	if out.drop = countDown(&f.webhooks.Drop); !out.drop {
		out.duplicate = countDown(&f.webhooks.Duplicate)
		out.replay = countDown(&f.webhooks.Replay)
	}
	return out
}

// oneAttempt is what goes wrong with one attempt to send.
type oneAttempt struct{ broken, wrongJSON, wrongSignature bool }

func (f *faultTable) takeAttempt() oneAttempt {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case countDown(&f.webhooks.Error):
		return oneAttempt{broken: true}
	case countDown(&f.webhooks.WrongJSON):
		return oneAttempt{wrongJSON: true}
	}
	return oneAttempt{wrongSignature: countDown(&f.webhooks.WrongSignature)}
}
