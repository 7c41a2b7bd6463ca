package qemu

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/lazymig/lazymig/internal/vmm/qmp"
)

// queries asks QEMU what its monitor can tell. Each method is one question.
type queries struct{ monitor *qmp.Client }

// memdev is one memory backend as query-memdev tells it.
type memdev struct {
	ID    string `json:"id"`
	Size  uint64 `json:"size"`
	Share bool   `json:"share"`
}

// cpuInfo is one vCPU of query-cpus-fast.
type cpuInfo struct {
	Index   int    `json:"cpu-index"`
	Path    string `json:"qom-path"`
	Thread  int    `json:"thread-id"`
	QOMType string `json:"-"`
}

// driveInfo is what is used of one entry of query-block.
type driveInfo struct {
	Device   string `json:"device"`
	QDev     string `json:"qdev"`
	Inserted *struct {
		File     string `json:"file"`
		NodeName string `json:"node-name"`
		ReadOnly bool   `json:"ro"`
		Cache    struct {
			Direct bool `json:"direct"`
		} `json:"cache"`
		Image struct {
			FileName string `json:"filename"`
		} `json:"image"`
	} `json:"inserted"`
}

// migrationInfo is what is used of query-migrate.
type migrationInfo struct {
	Status  string   `json:"status"`
	Blocked bool     `json:"blocked"`
	Reasons []string `json:"blocked-reasons"`
	Error   string   `json:"error-desc"`
}

// runState is query-status.
type runState struct {
	Status  string `json:"status"`
	Running bool   `json:"running"`
}

// child is one property of a QOM object that is an object itself.
type child struct {
	Name string `json:"name"`
	Type string `json:"type"` // such as "child<pc-dimm>"
}

// model returns the type of the child, such as "pc-dimm".
func (c child) model() string {
	return strings.TrimSuffix(strings.TrimPrefix(c.Type, "child<"), ">")
}

func ask[T any](ctx context.Context, q queries, command string, args any) (T, error) {
	var answer T
	err := q.monitor.Execute(ctx, command, args, &answer)
	return answer, err
}

func (q queries) version(ctx context.Context) (Version, error) {
	v, err := ask[struct {
		QEMU    Version `json:"qemu"`
		Package string  `json:"package"`
	}](ctx, q, "query-version", nil)
	v.QEMU.Package = v.Package
	return v.QEMU, err
}

func (q queries) name(ctx context.Context) (string, error) {
	v, err := ask[struct {
		Name string `json:"name"`
	}](ctx, q, "query-name", nil)
	return v.Name, err
}

func (q queries) target(ctx context.Context) (string, error) {
	v, err := ask[struct {
		Arch string `json:"arch"`
	}](ctx, q, "query-target", nil)
	return v.Arch, err
}

func (q queries) status(ctx context.Context) (runState, error) {
	return ask[runState](ctx, q, "query-status", nil)
}

func (q queries) migration(ctx context.Context) (migrationInfo, error) {
	return ask[migrationInfo](ctx, q, "query-migrate", nil)
}

func (q queries) memdevs(ctx context.Context) ([]memdev, error) {
	return ask[[]memdev](ctx, q, "query-memdev", nil)
}

func (q queries) cpus(ctx context.Context) ([]cpuInfo, error) {
	return ask[[]cpuInfo](ctx, q, "query-cpus-fast", nil)
}

func (q queries) drives(ctx context.Context) ([]driveInfo, error) {
	return ask[[]driveInfo](ctx, q, "query-block", nil)
}

// capabilities returns QEMU's migration capabilities and which are on.
func (q queries) capabilities(ctx context.Context) (map[string]bool, error) {
	list, err := ask[[]capability](ctx, q, "query-migrate-capabilities", nil)
	states := make(map[string]bool, len(list))
	for _, c := range list {
		states[c.Name] = c.State
	}
	return states, err
}

// property reads one property of a QOM object. The error is a
// *qmp.CommandError if the object has no such property.
func (q queries) property(ctx context.Context, path, name string, result any) error {
	args := map[string]string{"path": path, "property": name}
	if err := q.monitor.Execute(ctx, "qom-get", args, result); err != nil {
		return fmt.Errorf("read %s of %s: %w", name, path, err)
	}
	return nil
}

// children lists the objects below a QOM path.
func (q queries) children(ctx context.Context, path string) ([]child, error) {
	all, err := ask[[]child](ctx, q, "qom-list", map[string]string{"path": path})
	var list []child
	for _, c := range all {
		if strings.HasPrefix(c.Type, "child<") {
			list = append(list, c)
		}
	}
	return list, err
}

// human runs a command of the monitor for people, for what QMP cannot tell.
func (q queries) human(ctx context.Context, line string) (string, error) {
	return ask[string](ctx, q, "human-monitor-command", map[string]string{"command-line": line})
}

// blocks lists all RAM blocks. QEMU before 6.2 tells only people.
func (q queries) blocks(ctx context.Context) ([]blockInfo, error) {
	v, err := ask[struct {
		Text string `json:"human-readable-text"`
	}](ctx, q, "x-query-ramblock", nil)
	if isUnknown(err) {
		v.Text, err = q.human(ctx, "info ramblock")
	}
	if err != nil {
		return nil, err
	}
	return parseRAMBlocks(v.Text)
}

// dimms lists the memory devices that are DIMMs.
func (q queries) dimms(ctx context.Context) ([]DIMM, error) {
	list, err := ask[[]struct {
		Data struct {
			ID      string `json:"id"`
			Memdev  string `json:"memdev"`
			Address uint64 `json:"addr"`
			Size    uint64 `json:"size"`
		} `json:"data"`
	}](ctx, q, "query-memory-devices", nil)
	var dimms []DIMM
	for _, d := range list {
		if id, ok := strings.CutPrefix(d.Data.Memdev, "/objects/"); ok {
			dimms = append(dimms, DIMM{d.Data.ID, id, d.Data.Address, d.Data.Size})
		}
	}
	return dimms, err
}

// isUnknown tells that QEMU does not know the command.
func isUnknown(err error) bool {
	var refusal *qmp.CommandError
	return errors.As(err, &refusal) && refusal.Class == "CommandNotFound"
}

// isCommandError tells that QEMU answered, with a refusal.
func isCommandError(err error) bool {
	var refusal *qmp.CommandError
	return errors.As(err, &refusal)
}
