//go:build !linux

package program

import "syscall"

func dieWithTest() *syscall.SysProcAttr { return nil }
