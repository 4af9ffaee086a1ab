package machines

import (
	"crypto/sha256"
	"sync"

	"battery.app/gate/authz"
)

// cacheKey is a whole token at one app as the app was configured. The hash
// covers the signature, so that a token with another signature is another
// token; the app's pointer is its configuration, since a changed app is a new
// value.
type cacheKey struct {
	token [sha256.Size]byte
	app   *authz.App
}

// entry is what a token was found to stand for, and on what ground.
type entry struct {
	session *authz.Session
	issuer  *issuer // of a JWT
	keys    *keySet
	token   Token // of a service token: what it was when the session was made
}

const shards = 16

// cache remembers the tokens used most recently: at least size of them, at most
// twice as many. Only tokens that were good get in, so nobody without one can
// push others out.
type cache struct {
	shards [shards]shard
	size   int // of one generation of one shard
}

type shard struct {
	mu         sync.RWMutex
	young, old map[cacheKey]*entry
}

func newCache(size int) *cache { return &cache{size: max(size/shards, 1)} }

func (c *cache) shard(k cacheKey) *shard { return &c.shards[k.token[0]%shards] }

func (c *cache) get(k cacheKey) (*entry, bool) {
	s := c.shard(k)
	s.mu.RLock()
	e, young := s.young[k]
	if !young {
		e = s.old[k]
	}
	s.mu.RUnlock()
	if e != nil && !young {
		c.put(k, e)
	}
	return e, e != nil
}

func (c *cache) put(k cacheKey, e *entry) {
	s := c.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, there := s.young[k]; !there && len(s.young) >= c.size {
		s.old, s.young = s.young, nil
	}
	if s.young == nil {
		s.young = make(map[cacheKey]*entry)
	}
	s.young[k] = e
}
