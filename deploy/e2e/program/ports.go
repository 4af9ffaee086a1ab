package program

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"
)

// lastPort is where the search for free ports goes on: below what the kernel
// gives to connections, so that none is taken between here and its use.
var lastPort = func() *atomic.Int32 {
	var p atomic.Int32
	p.Store(20000 + int32(os.Getpid()%8000))
	return &p
}()

// FreePort finds a port of loopback that nobody uses just now.
func FreePort() (int, error) {
	for range 1000 {
		port := int(lastPort.Add(1))
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			_ = l.Close()
			return port, nil
		}
	}
	return 0, errors.New("no free port")
}
