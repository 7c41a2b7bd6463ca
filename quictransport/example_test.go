package quictransport_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/lazymig/lazymig/quictransport"
)

// Two hosts of one CA: host8 listens, host7 dials and asks something on the
// control stream.
func Example() {
	if err := talk(); err != nil {
		fmt.Println(err)
	}
	// Output:
	// host8 is linked to host7, which has web1
	// host7 is linked to host8, which says: hello
}

func talk() error {
	top, err := os.MkdirTemp("", "identities")
	if err != nil {
		return err
	}
	defer os.RemoveAll(top)
	host7, host8, err := identities(top)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	listener, err := quictransport.Listen("127.0.0.1:0", host8, quictransport.Config{Peer: "host7"})
	if err != nil {
		return err
	}
	answered := make(chan error, 1)
	go func() { answered <- answer(ctx, listener) }()

	hello := quictransport.Hello{Session: [16]byte{1}, Name: "web1"}
	link, _, err := quictransport.DialLink(ctx, listener.Addr().String(), host7, quictransport.Config{Peer: "host8"}, hello)
	if err != nil {
		return err
	}
	said, err := io.ReadAll(link.Control()) // until the other side closes gracefully
	if err != nil {
		return err
	}
	link.Close(quictransport.CodeDone, "thanks")
	err = errors.Join(<-answered, listener.Close())
	fmt.Printf("host7 is linked to %s, which says: %s\n", link.Peer(), said)
	return err
}

// answer takes one link and says something on it.
func answer(ctx context.Context, listener *quictransport.Listener) error {
	link, hello, err := listener.Accept(ctx, func(quictransport.Hello, string) (quictransport.Welcome, error) {
		return quictransport.Welcome{}, nil // a *RefusedError says no
	})
	if err != nil {
		return err
	}
	fmt.Printf("host8 is linked to %s, which has %s\n", link.Peer(), hello.Name)
	if _, err := io.WriteString(link.Control(), "hello"); err != nil {
		return err
	}
	return link.CloseGracefully(ctx)
}

// identities makes a CA and loads what two hosts have of it.
func identities(top string) (host7, host8 *quictransport.Identity, err error) {
	if err := quictransport.CreateCA(top); err != nil {
		return nil, nil, err
	}
	load := func(name string) (*quictransport.Identity, error) {
		if err := quictransport.Issue(top, name, time.Hour); err != nil {
			return nil, err
		}
		own := filepath.Join(top, name)
		if err := os.Mkdir(own, 0o700); err != nil {
			return nil, err
		}
		for _, file := range []string{"ca.crt", "domain.key", name + ".crt", name + ".key"} {
			if err := os.Link(filepath.Join(top, file), filepath.Join(own, file)); err != nil {
				return nil, err
			}
		}
		return quictransport.LoadIdentity(own)
	}
	if host7, err = load("host7"); err == nil {
		host8, err = load("host8")
	}
	return host7, host8, err
}
