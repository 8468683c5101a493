package devstack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/registry"
)

// Registry is a running schema registry on an address of this machine.
type Registry struct {
	url    string
	server *registry.Server
	web    *http.Server
	lock   *os.File
	served chan error // one value, when serving has ended
}

// StartRegistry serves a schema registry on addr ("127.0.0.1:8081"; port 0
// chooses a free one). It keeps its schemas in dir, which one process at a time
// may use, or in memory when dir is empty. The error is a [*connect.Error]
// when the address is taken, the directory is in use or its file is damaged.
func StartRegistry(addr, dir string) (*Registry, error) {
	r := &Registry{served: make(chan error, 1)}
	if err := r.open(dir); err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		err = fmt.Errorf("starting the schema registry: %w", errors.Join(err, r.close()))
		if errors.Is(err, syscall.EADDRINUSE) {
			return nil, &connect.Error{
				Code:    "devstack.registry.port",
				Place:   addr,
				Message: "the schema registry's address is taken",
				Mend:    "stop what listens there, or choose another port with --registry-port",
				Cause:   err,
			}
		}
		return nil, err
	}
	r.url = "http://" + listener.Addr().String()
	r.web = &http.Server{Handler: r.server.Handler(), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute}
	go func() { r.served <- r.web.Serve(listener) }()
	return r, nil
}

// open opens the registry's storage.
func (r *Registry) open(dir string) (err error) {
	store := registry.Memory()
	if dir != "" {
		if r.lock, err = lockDir(dir); err != nil {
			return fmt.Errorf("starting the schema registry: %w", err)
		}
		if store, err = registry.OpenFile(filepath.Join(dir, "schemas.log")); err != nil {
			return errors.Join(err, r.lock.Close())
		}
	}
	if r.server, err = registry.New(registry.Options{Store: store}); err != nil {
		if r.lock != nil {
			_ = r.lock.Close() // The first error is the one to report.
		}
		return errors.Join(err, store.Close())
	}
	return nil
}

// close closes the registry's storage.
func (r *Registry) close() error {
	err := r.server.Close()
	if r.lock != nil {
		err = errors.Join(err, r.lock.Close())
	}
	return err
}

// URL returns the registry's base URL, without a slash at its end.
func (r *Registry) URL() string { return r.url }

// Stop ends the registry after the requests that are under way, or when ctx
// ends.
func (r *Registry) Stop(ctx context.Context) error {
	err := r.web.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, r.web.Close())
	}
	if served := <-r.served; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	if err = errors.Join(err, r.close()); err != nil {
		return fmt.Errorf("stopping the schema registry: %w", err)
	}
	return nil
}
