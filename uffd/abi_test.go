package uffd

import (
	"reflect"
	"testing"
)

// TestRequests checks the ioctl numbers against those of the kernel's header.
func TestRequests(t *testing.T) {
	for name, test := range map[string]struct {
		got    uint32
		want   uint32
		record any
	}{
		"USERFAULTFD_IOC_NEW": {ioctlNew, 0x0000aa00, nil},
		"UFFDIO_API":          {ioctlAPI, 0xc018aa3f, apiRecord{}},
		"UFFDIO_REGISTER":     {ioctlRegister, 0xc020aa00, registerRecord{}},
		"UFFDIO_UNREGISTER":   {ioctlUnregister, 0x8010aa01, rangeRecord{}},
		"UFFDIO_WAKE":         {ioctlWake, 0x8010aa02, rangeRecord{}},
		"UFFDIO_COPY":         {ioctlCopy, 0xc028aa03, copyRecord{}},
		"UFFDIO_ZEROPAGE":     {ioctlZeropage, 0xc020aa04, fillRecord{}},
		"UFFDIO_POISON":       {ioctlPoison, 0xc020aa08, fillRecord{}},
	} {
		if test.got != test.want {
			t.Errorf("%s is %#x, want %#x", name, test.got, test.want)
		}
		if test.record != nil && uint32(reflect.TypeOf(test.record).Size()) != test.got>>16&0x3fff {
			t.Errorf("%s: the record has %d bytes", name, reflect.TypeOf(test.record).Size())
		}
	}
}
