package boltstore

import bolt "go.etcd.io/bbolt"

// Hold takes the write lock until release is called, so that updates queue.
func (s *Store) Hold() (release func()) {
	s.writer <- struct{}{}
	return func() { <-s.writer }
}

// Waiting is how many updates are in the queue.
func (s *Store) Waiting() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.queue)
}

// SetCommit replaces bbolt's commit. Set it while no update runs.
func (s *Store) SetCommit(commit func(*bolt.Tx) error) { s.commit = commit }

// SetMaxSize bounds the file, as a full disk does.
func (s *Store) SetMaxSize(bytes int) { s.db.MaxSize = bytes }
