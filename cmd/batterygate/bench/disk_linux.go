package main

import (
	"os"
	"syscall"
)

// syncData is what the store calls after its writes.
func syncData(f *os.File) error { return syscall.Fdatasync(int(f.Fd())) }
