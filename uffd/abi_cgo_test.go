//go:build cgo

package uffd

import (
	"reflect"
	"testing"

	"github.com/loopholelabs/userfaultfd-go/pkg/constants"
	"golang.org/x/sys/unix"
)

// TestAgainstUserfaultfdGo compares the ABI with that of userfaultfd-go, which
// has it from the kernel's header by cgo.
func TestAgainstUserfaultfdGo(t *testing.T) {
	for name, pair := range map[string][2]uint64{
		"userfaultfd":                  {unix.SYS_USERFAULTFD, constants.NR_userfaultfd},
		"UFFD_API":                     {apiVersion, constants.UFFD_API},
		"UFFD_EVENT_PAGEFAULT":         {eventPagefault, constants.UFFD_EVENT_PAGEFAULT},
		"UFFDIO_REGISTER_MODE_MISSING": {registerModeMissing, constants.UFFDIO_REGISTER_MODE_MISSING},
		"UFFDIO_API":                   {ioctlAPI, constants.UFFDIO_API},
		"UFFDIO_REGISTER":              {ioctlRegister, constants.UFFDIO_REGISTER},
		"UFFDIO_COPY":                  {ioctlCopy, constants.UFFDIO_COPY},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s is %#x, theirs %#x", name, pair[0], pair[1])
		}
	}
	if size := reflect.TypeFor[constants.UffdMsg]().Size(); size != messageSize {
		t.Errorf("struct uffd_msg has %d bytes, ours %d", size, messageSize)
	}
	sameLayout(t, reflect.TypeFor[apiRecord](), reflect.TypeFor[constants.UffdioAPI]())
	sameLayout(t, reflect.TypeFor[rangeRecord](), reflect.TypeFor[constants.UffdioRange]())
	sameLayout(t, reflect.TypeFor[registerRecord](), reflect.TypeFor[constants.UffdioRegister]())
	sameLayout(t, reflect.TypeFor[copyRecord](), reflect.TypeFor[constants.UffdioCopy]())
}

// sameLayout compares sizes, and offsets and sizes of the fields in order.
func sameLayout(t *testing.T, ours, theirs reflect.Type) {
	t.Helper()
	if ours.Size() != theirs.Size() || ours.NumField() != theirs.NumField() {
		t.Fatalf("%v has %d fields and %d bytes, theirs %d and %d", ours,
			ours.NumField(), ours.Size(), theirs.NumField(), theirs.Size())
	}
	for i := range ours.NumField() {
		a, b := ours.Field(i), theirs.Field(i)
		if a.Offset != b.Offset || a.Type.Size() != b.Type.Size() {
			t.Errorf("%v.%s: offset %d, %d bytes; theirs (%s) %d, %d", ours, a.Name,
				a.Offset, a.Type.Size(), b.Name, b.Offset, b.Type.Size())
		}
	}
}
