package forward

import authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

// CheckServer is the gRPC door without a network before it.
func (d *Doors) CheckServer() authv3.AuthorizationServer { return d.checkServer() }
