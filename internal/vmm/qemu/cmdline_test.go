package qemu

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// trueBinary is a program that every host has; the parser only looks whether
// it may be executed.
const trueBinary = "/bin/true"

const goodBackend = "memory-backend-file,id=ram0,mem-path=/dev/shm/qemu-incoming-none,size=128M,share=on"

func TestNameFromArgs(t *testing.T) {
	for _, c := range []struct {
		args string
		want string
	}{
		{"qemu -m 1G", ""},
		{"qemu", ""},
		{"", ""},
		{"qemu -name web", "web"},
		{"qemu --name web", "web"},
		{"qemu -name web,process=q", "web"},
		{"qemu -name guest=web,debug-threads=on", "web"},
		{"qemu -name debug-threads=on,guest=web", "web"},
		{"qemu -name a,,b,process=q", "a,b"},
		{"qemu -name debug-threads=on", ""},
		{"qemu -name one -name guest=two", "two"},
		{"qemu -name one -name process=q", "one"},
		{"qemu -append -name -m 1G", ""},
		{"qemu -S -name web", "web"},
		{"qemu -name", ""},
	} {
		if got := NameFromArgs(strings.Fields(c.args)); got != c.want {
			t.Errorf("NameFromArgs(%q) = %q, want %q", c.args, got, c.want)
		}
	}
}

func TestParseSize(t *testing.T) {
	for text, want := range map[string]uint64{
		"1G": 1 << 30, "512M": 512 << 20, "4096": 4096, "4096B": 4096, "64k": 64 << 10, "1.5G": 3 << 29,
		"0x40000000": 1 << 30, "2T": 2 << 40, "0": 0, "1.": 1, "0.5M": 512 << 10,
	} {
		if got, err := parseSize(text); err != nil || got != want {
			t.Errorf("parseSize(%q) = %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{
		"", "G", "-1", "1e3", "1/2", "1GB", "1 G", "0x", "0xg", "0x1G", ".5G", "1.2.3", "1000000T", "16E", "_1", "1_0",
		"0x_1", "+1", "inf", strings.Repeat("9", 40),
	} {
		if got, err := parseSize(text); err == nil {
			t.Errorf("parseSize(%q) = %d, want an error", text, got)
		}
	}
}

func TestPropertiesFollowQEMU(t *testing.T) {
	for _, c := range []struct {
		argument, implied string
		want              map[string]string
	}{
		{"memory-backend-file,id=a,share", "qom-type", map[string]string{"qom-type": "memory-backend-file", "id": "a", "share": "on"}},
		{"memory-backend-file,noshare", "qom-type", map[string]string{"share": "off"}},
		{"id=a,qom-type=x", "qom-type", map[string]string{"id": "a", "qom-type": "x"}},
		{"x,path=a,,b,,,c=d", "t", map[string]string{"path": "a,b,", "c": "d", "t": "x"}},
		{"x,size=1,size=2", "t", map[string]string{"size": "2"}},
		{"x,share=on,noshare", "t", map[string]string{"share": "off"}},
		{"a,,b", "t", map[string]string{"t": "a,b"}},
		{"path=a=b,id=c", "t", map[string]string{"path": "a=b", "id": "c"}},
		{`{"qom-type":"f","size":1073741824,"share":true,"a":{"b":["c"]}}`, "t", map[string]string{"qom-type": "f", "size": "1073741824", "share": "on", "a.b.0": "c"}},
	} {
		p, err := parseProperties(c.argument, c.implied)
		if err != nil {
			t.Errorf("parse %q: %v", c.argument, err)
		}
		for key, want := range c.want {
			if got, ok := p.get(key); !ok || got != want {
				t.Errorf("%q: %s = %q, %v, want %q", c.argument, key, got, ok, want)
			}
		}
	}
}

func TestRewrite(t *testing.T) {
	args := []string{
		trueBinary, "-m", "1G", "--object", "memory-backend-file,id=ram0,mem-path=/dev/shm/a,,b,share=on,size=1G,host-nodes=0-1",
		"-append", "-incoming tcp:x", "-object", `{"qom-type":"memory-backend-file","id":"ram1","mem-path":"/dev/shm/c","size":4096,"share":true,"x":"<&>"}`,
		"-object", "rng-random,id=r", "-S", "disk.img",
	}
	c, err := parseCommandLine(args)
	if err != nil {
		t.Fatal(err)
	}
	files := make(map[string]string)
	for _, b := range c.backends {
		files[b.id] = b.filePath("t1")
	}
	got, err := c.arguments(files, "/run/l,m/qmp.sock", "t1")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		trueBinary, "-m", "1G", "--object", "memory-backend-file,id=ram0,share=on,size=1G,host-nodes=0-1,mem-path=/dev/shm/a,,b.lazymig-t1",
		"-append", "-incoming tcp:x", "-object", `{"id":"ram1","mem-path":"/dev/shm/c.lazymig-t1","qom-type":"memory-backend-file","share":true,"size":4096,"x":"<&>"}`,
		"-object", "rng-random,id=r", "-S", "disk.img",
		"-incoming", "defer", "-S", "-chardev", "socket,id=lazymig-t1,path=/run/l,,m/qmp.sock,server=on,wait=off", "-mon", "chardev=lazymig-t1,mode=control",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestRewriteKeepsIncomingDefer(t *testing.T) {
	c, err := parseCommandLine([]string{trueBinary, "-incoming", "defer", "-object", goodBackend})
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.arguments(map[string]string{"ram0": "/x"}, "/m", "t")
	if err != nil {
		t.Fatal(err)
	}
	if n := len(slices.DeleteFunc(got, func(a string) bool { return a != "-incoming" })); n != 1 {
		t.Errorf("%d times -incoming", n)
	}
}

func TestFilePathDropsAnEarlierTag(t *testing.T) {
	for path, want := range map[string]string{
		"/dev/shm/vm":            "/dev/shm/vm.lazymig-t",
		"/dev/shm/vm.lazymig-a1": "/dev/shm/vm.lazymig-t",
		"/dev/shm/vm.lazymig-":   "/dev/shm/vm.lazymig-.lazymig-t",
	} {
		b := backend{path: path}
		if got := b.filePath("t"); got != want {
			t.Errorf("filePath of %s = %s, want %s", path, got, want)
		}
	}
}

func TestRefusals(t *testing.T) {
	for _, c := range []struct{ extra, want string }{
		{"-mem-path /dev/shm/x", "private to QEMU"},
		{"-mem-prealloc", "before the guest's memory has arrived"},
		{"-object memory-backend-file,id=r,mem-path=/dev/shm/x,size=1G", "add share=on"},
		{"-object memory-backend-file,id=r,mem-path=/dev/shm/x,size=1G,share=off", "add share=on"},
		{"-object memory-backend-file,id=r,mem-path=/dev/shm/x,size=1G,share=on,noshare", "add share=on"},
		{"-object memory-backend-file,id=r,mem-path=/dev/shm/x,size=1G,share=on,prealloc=yes", "leave prealloc out"},
		{"-object memory-backend-file,id=r,mem-path=/dev/shm/x,size=1G,share=on,prealloc", "leave prealloc out"},
		{"-object memory-backend-file,id=r,mem-path=/dev/shm/x,size=1G,share=on,pmem=on", "leave pmem out"},
		{"-object memory-backend-file,id=r,mem-path=/dev/shm/x,size=1G,share=on,readonly=on", "leave readonly out"},
		{"-object memory-backend-file,id=r,mem-path=/dev/shm/x,size=1G,share=on,offset=4096", "leave offset out"},
		{"-object memory-backend-file,id=r,mem-path=/dev/shm/x,share=on", "add size=SIZE"},
		{"-object memory-backend-file,id=r,mem-path=/dev/shm/x,share=on,size=5000", "multiple of 4096"},
		{"-object memory-backend-file,id=r,share=on,size=1G", "add mem-path"},
		{"-object memory-backend-file,mem-path=/dev/shm/x,share=on,size=1G", "add id=NAME"},
		{"-object memory-backend-file,id=ram0,mem-path=/dev/shm/x,share=on,size=1G", "used by two"},
		{"-object memory-backend-file,id=r,mem-path=/dev/shm/qemu-incoming-none,share=on,size=1G", "used by two"},
		{"-object memory-backend-memfd,id=r,size=1G,share=on", "use memory-backend-file"},
		{"-object memory-backend-ram,id=r,size=1G", "use memory-backend-file"},
		{"-object memory-backend-shm,id=r,size=1G", "use memory-backend-file"},
		{"-object {'qom-type':'memory-backend-ram'}", "double quotes"},
		{`-object {"qom-type":"memory-backend-ram","id":"x","size":4096}`, "use memory-backend-file"},
		{`-object {"qom-type":"memory-backend-file","id":"x","size":4096,"share":false,"mem-path":"/dev/shm/x"}`, "add share=on"},
		{"-incoming tcp:0:4444", "leave -incoming out"},
		{"-snapshot", "shared disks"},
		{"-loadvm x", "leave it out"},
		{"-preconfig", "leave it out"},
		{"-readconfig f", "put the file's options"},
		{"-set object.ram0.share=off", "write the value into the -object"},
		{"-overcommit mem-lock=on", "locking"},
		{"-realtime mlock=on", "locking"},
		{"-device vfio-pci,host=01:00.0", "emulated or virtio"},
		{"-device vhost-user-fs-pci,chardev=c", "vhost or a tap"},
		{`-device {"driver":"vhost-user-blk-pci"}`, "vhost or a tap"},
		{"-netdev vhost-user,id=n,chardev=c", "vhost or a tap"},
		{"-netdev type=vhost-vdpa,id=n", "virtio device"},
		{"-device ivshmem-plain,memdev=m", "shared memory"},
		{"-runas nobody-of-this-name", "no such user"},
		{"-run-with user=1", "no such user"},
		{"-m", "complete the command line"},
	} {
		args := append([]string{trueBinary, "-object", goodBackend}, strings.Split(c.extra, " ")...)
		_, err := parseCommandLine(args)
		var refusal *Refusal
		if !errors.As(err, &refusal) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want a refusal with %q", c.extra, err, c.want)
		}
	}
}

func TestRefuseWithoutBackendOrBinary(t *testing.T) {
	plain := filepath.Join(t.TempDir(), "plain")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for want, args := range map[string][]string{
		"no QEMU command line":          {},
		"no QEMU here":                  {"qemu-system-of-no-host", "-object", goodBackend},
		"no QEMU here: the file is not": {plain, "-object", goodBackend},
		"it has no memory-backend-file": {trueBinary, "-m", "1G"},
	} {
		_, err := parseCommandLine(args)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", args, err, want)
		}
	}
}

func TestAccepted(t *testing.T) {
	for _, extra := range []string{
		"-runas nobody", "-runas 65534:65534", "-run-with user=65534:65534", "-run-with async-teardown=on", "-daemonize",
		"-sandbox on,spawn=deny", "-device virtio-net-pci,netdev=n", "-netdev tap,id=n,vhost=on", "-device vhost-vsock-pci,guest-cid=3",
		"-overcommit mem-lock=off", "-set drive.d.file=x", "-future-switch -S", "-append -mem-path", "-object secret,id=s,data=x",
		"-future-option memory-backend-ram -S",
	} {
		args := append([]string{trueBinary, "-object", goodBackend}, strings.Split(extra, " ")...)
		if _, err := parseCommandLine(args); err != nil {
			t.Errorf("%s: %v", extra, err)
		}
	}
}

func TestServerSockets(t *testing.T) {
	for _, c := range []struct{ extra, want string }{
		{"-qmp unix:/a/q,server=on,wait=off", "/a/q"},
		{"-qmp unix:/a/q,server,nowait", "/a/q"},
		{"-qmp-pretty unix:/a/,,q,server", "/a/,q"},
		{"-qmp unix:/a/q", ""},
		{"-qmp unix:/a/q,server=off", ""},
		{"-qmp tcp:localhost:4444,server=on", ""},
		{"-monitor unix:/a/m,server=on,wait=off", "/a/m"},
		{"-serial mon:unix:/a/s,server=on", "/a/s"},
		{"-serial unix:/a/s,server=on,abstract=on", ""},
		{"-gdb unix:/a/g,server=on,wait=off", "/a/g"},
		{"-chardev socket,id=c,path=/a/c,server=on,wait=off", "/a/c"},
		{"-chardev socket,id=c,path=/a/c", ""},
		{"-chardev socket,id=c,host=h,port=1,server=on", ""},
		{"-chardev file,id=c,path=/a/c,server=on", ""},
		{"-vnc unix:/a/v", "/a/v"},
		{"-vnc unix:/a/v,reverse=on", ""},
		{"-vnc :1", ""},
		{"-display vnc=unix:/a/v", "/a/v"},
		{"-spice unix=on,addr=/a/p,disable-ticketing=on", "/a/p"},
		{"-spice port=5900,addr=1.2.3.4", ""},
		{"-netdev stream,id=n,server=on,addr.type=unix,addr.path=/a/n", "/a/n"},
		{`-netdev {"type":"stream","id":"n","server":true,"addr":{"type":"unix","path":"/a/n"}}`, "/a/n"},
		{"-netdev stream,id=n,addr.type=unix,addr.path=/a/n", ""},
		{"-netdev dgram,id=n,local.type=unix,local.path=/a/d,remote.type=unix,remote.path=/a/e", "/a/d"},
	} {
		args := append([]string{trueBinary, "-object", goodBackend}, strings.Split(c.extra, " ")...)
		command, err := parseCommandLine(args)
		if err != nil {
			t.Errorf("%s: %v", c.extra, err)
			continue
		}
		var got string
		for _, s := range command.serverSockets() {
			got += s.path
		}
		if got != c.want {
			t.Errorf("%s: sockets %q, want %q", c.extra, got, c.want)
		}
	}
}

func TestLiveSocketsAreRefused(t *testing.T) {
	dir := t.TempDir()
	stream := filepath.Join(dir, "stream")
	listener, err := net.Listen("unix", stream)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	datagram, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "dgram"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer datagram.Close()
	stale := filepath.Join(dir, "stale")
	old, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	old.SetUnlinkOnClose(false)
	old.Close()
	for extra, alive := range map[string]bool{
		"-qmp unix:" + stream + ",server=on,wait=off":                                      true,
		"-qmp unix:" + stale + ",server=on,wait=off":                                       false,
		"-qmp unix:" + dir + "/none,server=on,wait=off":                                    false,
		"-chardev socket,id=c,path=" + stream + ",server=on":                               true,
		"-chardev socket,id=c,path=" + stream:                                              false,
		"-netdev dgram,id=n,local.type=unix,local.path=" + dir + "/dgram,remote.type=fd":   true,
		"-vnc unix:" + dir + "/dgram":                                                      true,
		fmt.Sprintf("-vnc unix:%s -qmp unix:%s,server=on", stale, filepath.Join(dir, "x")): false,
	} {
		args := append([]string{trueBinary, "-object", goodBackend}, strings.Split(extra, " ")...)
		command, err := parseCommandLine(args)
		if err != nil {
			t.Fatal(err)
		}
		if err := command.refuseLiveSockets(); (err != nil) != alive {
			t.Errorf("%s: %v, want a refusal: %v", extra, err, alive)
		}
	}
}

// FuzzCommandLine checks that whatever the parser accepts, its rewritten form
// has the RAM files in place of the given paths and nothing else changed.
func FuzzCommandLine(f *testing.F) {
	f.Add("-m\n1G\n-object\n" + goodBackend)
	f.Add("-object\nmemory-backend-file,id=a,mem-path=/dev/shm/,,x,share,size=0x1000\n-name\nguest=x")
	f.Add("-object\n" + `{"qom-type":"memory-backend-file","id":"x","size":4096,"share":true,"mem-path":"/dev/shm/x"}`)
	f.Add("-chardev\nsocket,id=c,path=/x,server\n-S\n--daemonize\nimage")
	f.Add("-object\nqom-type=memory-backend-file,id=r,size=1.5G,mem-path=x,share=y,noprealloc,mem-path=y")
	f.Add("-object\nmemory-backend-file,0000=,mem-path,,share,id,size=1G")
	f.Fuzz(func(t *testing.T, text string) {
		arguments := strings.Split(text, "\n")
		NameFromArgs(append([]string{trueBinary}, arguments...))
		c, err := parseCommandLine(append([]string{trueBinary}, arguments...))
		if err != nil {
			return
		}
		c.serverSockets()
		files := make(map[string]string)
		for i, b := range c.backends {
			files[b.id] = fmt.Sprintf("/new/%d,file", i)
		}
		rewritten, err := c.arguments(files, "/m", "t")
		if err != nil {
			t.Fatal(err)
		}
		again, err := parseCommandLine(rewritten)
		if err != nil {
			t.Fatalf("%q: the rewritten form %q: %v", arguments, rewritten, err)
		}
		checkRewritten(t, c, again, files)
	})
}

func checkRewritten(t *testing.T, before, after *commandLine, files map[string]string) {
	t.Helper()
	if len(before.backends) != len(after.backends) {
		t.Fatalf("%d backends became %d", len(before.backends), len(after.backends))
	}
	changed := make(map[int]bool)
	for i, b := range before.backends {
		a := after.backends[i]
		changed[b.option] = true
		if a.id != b.id || a.size != b.size || a.path != files[b.id] || a.option != b.option {
			t.Errorf("backend %+v became %+v", b, a)
		}
	}
	for i, o := range before.options {
		if !changed[i] && after.options[i] != o {
			t.Errorf("option %q became %q", o, after.options[i])
		}
	}
}
