package qemu

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lazymig/lazymig/internal/vmm/qmp"
)

// fakeMonitor answers commands from a table, and others with an empty object.
func fakeMonitor(t *testing.T, answers map[string]string) *qmp.Client {
	t.Helper()
	listener, err := net.Listen("unix", filepath.Join(t.TempDir(), "q"))
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		fmt.Fprintln(conn, `{"QMP":{"version":{},"capabilities":[]}}`)
		for lines := bufio.NewScanner(conn); lines.Scan(); {
			var command struct {
				Execute string
				ID      uint64
			}
			if json.Unmarshal(lines.Bytes(), &command) != nil {
				return
			}
			answer, ok := answers[command.Execute]
			if !ok {
				answer = "{}"
			}
			fmt.Fprintf(conn, "{\"return\":%s,\"id\":%d}\n", answer, command.ID)
		}
	}()
	client, err := qmp.Dial(t.Context(), listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		client.Close()
		listener.Close()
		<-ended
	})
	return client
}

func TestOldQEMUIsRefused(t *testing.T) {
	all := func(names ...string) string {
		var list []string
		for _, name := range names {
			list = append(list, `{"capability":"`+name+`","state":false}`)
		}
		return "[" + strings.Join(list, ",") + "]"
	}
	for want, answers := range map[string]map[string]string{
		"announce-rounds":     {"query-migrate-capabilities": all("events", "late-block-activate", "x-ignore-shared"), "query-migrate-parameters": `{}`},
		"late-block-activate": {"query-migrate-capabilities": all("events", "x-ignore-shared"), "query-migrate-parameters": `{"announce-rounds":5}`},
		"x-ignore-shared":     {"query-migrate-capabilities": all("events", "late-block-activate"), "query-migrate-parameters": `{"announce-rounds":5}`},
		"":                    {"query-migrate-capabilities": all("events", "late-block-activate", "x-ignore-shared"), "query-migrate-parameters": `{"announce-rounds":5}`},
	} {
		i := &Incoming{client: fakeMonitor(t, answers)}
		err := i.configure(t.Context())
		if want == "" && (err != nil || *i.previous.announceRounds != 5) {
			t.Errorf("a good QEMU: %v, %+v", err, i.previous)
		}
		if want != "" && (err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "or newer")) {
			t.Errorf("without %s: %v", want, err)
		}
	}
}
