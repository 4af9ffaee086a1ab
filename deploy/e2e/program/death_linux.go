package program

import "syscall"

// dieWithTest lets the kernel end what a test started when the test is killed.
func dieWithTest() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
