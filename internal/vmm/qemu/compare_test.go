package qemu

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/lazymig/lazymig"
	"github.com/lazymig/lazymig/internal/vmm"
)

// sample describes a guest with everything.
func sample() Description {
	return Description{
		Name: "vm1", Version: Version{Major: 7, Minor: 2, Micro: 22}, Machine: "pc-q35-7.2-machine", Arch: "x86_64",
		CPU:    CPU{Type: "qemu64-x86_64-cpu", Count: 2, Features: []FeatureWord{{1, 0, "ECX", 0x80}, {7, 1, "EAX", 3}}},
		RAM:    []RAMBlock{{ID: "ram0", Size: 1 << 30, Path: "/dev/shm/a", PageSize: 4096, Shared: true, Type: "memory-backend-file"}, {ID: "ram1", Size: 1 << 20, PageSize: 4096}},
		Blocks: []Block{{"pc.bios", 256 << 10}, {"ram0", 1 << 30}, {"ram1", 1 << 20}},
		DIMMs:  []DIMM{{"d0", "ram1", 1 << 32, 1 << 20}},
		Disks: []Disk{
			{Device: "d0", Path: "/nfs/a", Kind: DiskFile, Inode: 7, Size: 1 << 20, Direct: true},
			{Device: "cd", Path: "/iso", Kind: DiskFile, Inode: 8, Size: 1 << 10, ReadOnly: true},
			{Device: "lv", Path: "/dev/vg/lv", Kind: DiskDevice, Size: 1 << 30, Direct: true},
			{Device: "net", Path: "nbd://host/x", Kind: DiskOther},
		},
		State: "running", Running: true, Allocated: 5 << 20,
	}
}

func TestCompareEqual(t *testing.T) {
	t.Parallel()
	d := sample()
	d.Name, d.RAM[0].Path, d.State, d.Running, d.Allocated, d.Disks[0].Path = "other", "/dev/shm/b", "inmigrate", false, 0, "/mnt/nfs/a"
	checks := Compare(sample(), d)
	wantOnlyRefused(t, checks, "")
	if c := find(t, checks, "disk lv"); c.Status != vmm.StatusWarning {
		t.Errorf("check %+v: block devices cannot be told apart", c)
	}
	if vmm.Refused(checks) {
		t.Error("refused")
	}
}

func TestCompareDifferences(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		change func(d *Description)
		check  string
		status vmm.Status
		source string // both values have to be told
		dest   string
	}{
		"older QEMU":       {func(d *Description) { d.Version.Minor = 1 }, "qemu-version", vmm.StatusWarning, "7.2.22", "7.1.22"},
		"newer QEMU":       {func(d *Description) { d.Version.Major = 9 }, "qemu-version", vmm.StatusOK, "7.2.22", "9.2.22"},
		"machine":          {func(d *Description) { d.Machine = "pc-i440fx-7.2-machine" }, "machine", vmm.StatusRefused, "pc-q35-7.2-machine", "pc-i440fx-7.2-machine"},
		"architecture":     {func(d *Description) { d.Arch = "aarch64" }, "architecture", vmm.StatusRefused, "x86_64", "aarch64"},
		"cpu model":        {func(d *Description) { d.CPU.Type = "max-x86_64-cpu" }, "cpu-model", vmm.StatusRefused, "qemu64", "max-"},
		"cpu count":        {func(d *Description) { d.CPU.Count = 4 }, "cpu-count", vmm.StatusRefused, "2", "4"},
		"feature changed":  {func(d *Description) { d.CPU.Features[0].Bits = 0x81 }, "cpu-features", vmm.StatusRefused, "0x00000080", "0x00000081"},
		"feature gone":     {func(d *Description) { d.CPU.Features = d.CPU.Features[:1] }, "cpu-features", vmm.StatusRefused, "0x00000003", "0x00000000"},
		"feature new":      {func(d *Description) { d.CPU.Features = append(d.CPU.Features, FeatureWord{7, 0, "EBX", 1}) }, "cpu-features", vmm.StatusRefused, "0x00000000", "0x00000001"},
		"RAM size":         {func(d *Description) { d.RAM[0].Size = 2 << 30 }, "ram-layout", vmm.StatusRefused, "1073741824", "2147483648"},
		"RAM order":        {func(d *Description) { d.RAM[0], d.RAM[1] = d.RAM[1], d.RAM[0] }, "ram-layout", vmm.StatusRefused, "ram0 (1073741824", "ram1 (1048576"},
		"page size":        {func(d *Description) { d.RAM[0].PageSize = 2 << 20 }, "ram-layout", vmm.StatusRefused, "4096", "2097152"},
		"backend missing":  {func(d *Description) { d.RAM = d.RAM[:1] }, "ram-layout", vmm.StatusRefused, "ram1", "ram0"},
		"no backend":       {func(d *Description) { d.RAM = nil }, "ram-layout", vmm.StatusRefused, "ram0", "none"},
		"DIMM moved":       {func(d *Description) { d.DIMMs[0].Address = 2 << 32 }, "dimms", vmm.StatusRefused, "0x100000000", "0x200000000"},
		"block missing":    {func(d *Description) { d.Blocks = d.Blocks[1:] }, "ram-blocks", vmm.StatusRefused, "262144", "0 bytes"},
		"block size":       {func(d *Description) { d.Blocks[0].Size = 128 << 10 }, "ram-blocks", vmm.StatusRefused, "262144", "131072"},
		"block extra":      {func(d *Description) { d.Blocks = append(d.Blocks, Block{"vga.vram", 1}) }, "ram-blocks", vmm.StatusWarning, "vga.vram", "destination"},
		"other file":       {func(d *Description) { d.Disks[0].Inode = 9 }, "disk d0", vmm.StatusRefused, "inode 7", "inode 9"},
		"other size":       {func(d *Description) { d.Disks[0].Size = 1 }, "disk d0", vmm.StatusRefused, "1048576", "1 bytes"},
		"other ISO":        {func(d *Description) { d.Disks[1].Inode = 9 }, "disk cd", vmm.StatusWarning, "inode 8", "inode 9"},
		"writable ISO":     {func(d *Description) { d.Disks[1].ReadOnly = false }, "disk cd", vmm.StatusRefused, "read-only", "read-write"},
		"file for device":  {func(d *Description) { d.Disks[2].Kind = DiskFile }, "disk lv", vmm.StatusRefused, "device", "file"},
		"device size":      {func(d *Description) { d.Disks[2].Size = 1 << 31 }, "disk lv", vmm.StatusRefused, "1073741824", "2147483648"},
		"same address":     {func(*Description) {}, "disk net", vmm.StatusOK, "nbd://host/x", "nbd://host/x"},
		"other address":    {func(d *Description) { d.Disks[3].Path = "nbd://host/y" }, "disk net", vmm.StatusWarning, "nbd://host/x", "nbd://host/y"},
		"disk missing":     {func(d *Description) { d.Disks = d.Disks[1:] }, "disk d0", vmm.StatusRefused, "/nfs/a", "no drive"},
		"disk extra":       {func(d *Description) { d.Disks = append(d.Disks, Disk{Device: "x", Path: "/x"}) }, "disk x", vmm.StatusRefused, "/x", "no drive"},
		"no disks at dest": {func(d *Description) { d.Disks = nil }, "disk d0", vmm.StatusRefused, "/nfs/a", "no drive"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := sample()
			tc.change(&d)
			c := find(t, Compare(sample(), d), tc.check)
			if c.Status != tc.status || !strings.Contains(c.Detail, tc.source) || !strings.Contains(c.Detail, tc.dest) {
				t.Errorf("check %+v, want %s with %q and %q", c, tc.status, tc.source, tc.dest)
			}
			if (c.Fix == "") != (c.Status == vmm.StatusOK) {
				t.Errorf("check %+v: wrong fix", c)
			}
		})
	}
}

func TestDescriptionTravels(t *testing.T) {
	t.Parallel()
	text, err := json.Marshal(sample())
	if err != nil {
		t.Fatal(err)
	}
	var d Description
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	if again, err := json.Marshal(d); err != nil || string(again) != string(text) {
		t.Errorf("%s\nis not\n%s, %v", again, text, err)
	}
	if want := (lazymig.Layout{{Name: "ram0", Size: 1 << 30}, {Name: "ram1", Size: 1 << 20}}); !d.Layout().Equal(want) {
		t.Errorf("layout %v", d.Layout())
	}
}
