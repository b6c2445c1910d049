package serve

import (
	"fmt"
	"net"
	"strconv"
)

// Address is where a function listens. Functions embed it in their configuration, so that the variables are the same everywhere.
type Address struct {
	Port int `envconfig:"PORT" default:"8080" desc:"port for events, /healthz, /readyz and /metrics; 0 is any that is free"`
	// ListenHost is the address to listen on: all of them where it is empty, as a pod needs; 127.0.0.1 on one machine.
	ListenHost string `envconfig:"LISTEN_HOST" desc:"address to listen on, all where empty; 127.0.0.1 on one machine"`
}

// Validate says that the port is none.
func (a Address) Validate() error {
	if a.Port < 0 || a.Port > 65535 {
		return fmt.Errorf("PORT %d is no port", a.Port)
	}
	return nil
}

// Listen returns the address as [Config] wants it, host:port.
func (a Address) Listen() string { return net.JoinHostPort(a.ListenHost, strconv.Itoa(a.Port)) }
