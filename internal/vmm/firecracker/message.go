package firecracker

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// mapping is a region as the VMM writes it. Keys that are missing here are of
// no use to a handler, and are ignored.
//
//	Firecracker  1.1 – 1.6   base_host_virt_addr, size, offset
//	             1.7 – 1.11  and page_size_kib, whose value is in bytes
//	             from 1.12   and page_size, in bytes; page_size_kib as before
type mapping struct {
	Address    *uint64 `json:"base_host_virt_addr"`
	Size       *uint64 `json:"size"`
	Offset     *uint64 `json:"offset"`
	PageSize   *uint64 `json:"page_size,omitempty"`
	PageBytes  *uint64 `json:"page_size_kib,omitempty"`
	GuestMemfd bool    `json:"is_guest_memfd,omitempty"`
}

// errShort is returned for a message that has not come to its end.
var errShort = fmt.Errorf("%w: it is cut short", ErrMessage)

// parse reads the regions of a message. The error wraps errShort if more has
// to come, and otherwise ErrMessage or ErrGuestMemfd.
func parse(message []byte) ([]Region, error) {
	var mappings []mapping
	decoder := json.NewDecoder(bytes.NewReader(message))
	switch err := decoder.Decode(&mappings); {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return nil, errShort
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrMessage, err)
	}
	if rest := bytes.TrimSpace(message[decoder.InputOffset():]); len(rest) > 0 {
		return nil, fmt.Errorf("%w: %d bytes follow its end", ErrMessage, len(rest))
	}
	regions := make([]Region, 0, len(mappings))
	for i, m := range mappings {
		r, err := m.region()
		if err != nil {
			return nil, fmt.Errorf("region %d: %w", i, err)
		}
		regions = append(regions, r)
	}
	return regions, checkRegions(regions)
}

func (m mapping) region() (Region, error) {
	switch {
	case m.GuestMemfd:
		return Region{}, ErrGuestMemfd
	case m.Address == nil || m.Size == nil || m.Offset == nil:
		return Region{}, fmt.Errorf("%w: base_host_virt_addr, size or offset is missing", ErrMessage)
	}
	r := Region{Address: *m.Address, Size: *m.Size, Offset: *m.Offset, PageSize: defaultPageSize}
	if m.PageBytes != nil {
		r.PageSize = *m.PageBytes
	}
	if m.PageSize != nil {
		r.PageSize = *m.PageSize
	}
	return r, nil
}

// format writes regions as Firecracker 1.12 does, which handlers for all
// versions read.
func format(regions []Region) ([]byte, error) {
	if err := checkRegions(regions); err != nil {
		return nil, err
	}
	mappings := make([]mapping, len(regions))
	for i := range regions {
		r := &regions[i]
		mappings[i] = mapping{Address: &r.Address, Size: &r.Size, Offset: &r.Offset, PageSize: &r.PageSize, PageBytes: &r.PageSize}
	}
	return json.Marshal(mappings)
}
