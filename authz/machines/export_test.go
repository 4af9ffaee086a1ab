package machines

// Remembered is how many tokens the cache holds.
func (v *Verifier) Remembered() (n int) {
	for i := range v.cache.shards {
		s := &v.cache.shards[i]
		s.mu.RLock()
		n += len(s.young) + len(s.old)
		s.mu.RUnlock()
	}
	return n
}
