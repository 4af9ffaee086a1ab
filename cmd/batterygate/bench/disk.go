package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// disk measures what any durable write must cost here: one page of 4 KiB
// written and synced, again and again, in a file that has its size already. The
// store's own commit syncs twice: pages first, then the page that names them.
func disk(dir string, d time.Duration) (_ spread, err error) {
	const page, pages = 4 << 10, 256
	f, err := os.Create(filepath.Join(dir, "disk"))
	if err != nil {
		return spread{}, fmt.Errorf("measure the disk: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	buf := make([]byte, page)
	if _, err := f.Write(make([]byte, page*pages)); err != nil {
		return spread{}, fmt.Errorf("measure the disk: %w", err)
	}
	if err := f.Sync(); err != nil {
		return spread{}, fmt.Errorf("measure the disk: %w", err)
	}
	var all []time.Duration
	for began := time.Now(); time.Since(began) < d; {
		buf[0]++
		at := time.Now()
		if _, err := f.WriteAt(buf, int64(len(all)%pages)*page); err != nil {
			return spread{}, fmt.Errorf("measure the disk: %w", err)
		}
		if err := syncData(f); err != nil {
			return spread{}, fmt.Errorf("measure the disk: %w", err)
		}
		all = append(all, time.Since(at))
	}
	return spreadOf(all), nil
}

// spread is how long many runs of one thing took, one after the other.
type spread struct {
	perSecond float64
	p50, p99  time.Duration
}

func spreadOf(all []time.Duration) spread {
	slices.Sort(all)
	var sum time.Duration
	for _, d := range all {
		sum += d
	}
	return spread{perSecond: float64(len(all)) / sum.Seconds(), p50: all[len(all)/2], p99: all[len(all)*99/100]}
}
