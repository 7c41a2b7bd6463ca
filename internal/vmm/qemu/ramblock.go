package qemu

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// blockInfo is one line of x-query-ramblock.
type blockInfo struct {
	name     string // empty for a backend that no device uses
	pageSize uint64 // of the host memory behind it, bytes
	used     uint64
	total    uint64
}

// parseRAMBlocks reads QEMU's table of RAM blocks, as x-query-ramblock and
// "info ramblock" print it:
//
//	Block Name    PSize              Offset               Used              Total
//	      ram0    4 KiB  0x0000000000000000 0x0000000008000000 0x0000000008000000
//
// Later versions add columns behind these.
func parseRAMBlocks(text string) ([]blockInfo, error) {
	var list []blockInfo
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		first := slices.IndexFunc(fields, func(f string) bool { return strings.HasPrefix(f, "0x") })
		if first < 0 {
			continue // the heading
		}
		b, err := parseRAMBlock(fields, first)
		if err != nil {
			return nil, fmt.Errorf("parse the RAM block %q: %w", strings.TrimSpace(line), err)
		}
		list = append(list, b)
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("parse the RAM blocks: there is none in %q", text)
	}
	return list, nil
}

// parseRAMBlock reads one line; fields[first] is its offset.
func parseRAMBlock(fields []string, first int) (blockInfo, error) {
	if first < 2 || len(fields) < first+3 {
		return blockInfo{}, fmt.Errorf("%d columns", len(fields))
	}
	b := blockInfo{name: strings.Join(fields[:first-2], " ")}
	var err error
	if b.pageSize, err = parsePageSize(fields[first-2], fields[first-1]); err != nil {
		return b, err
	}
	if b.used, err = strconv.ParseUint(fields[first+1], 0, 64); err != nil {
		return b, err
	}
	b.total, err = strconv.ParseUint(fields[first+2], 0, 64)
	return b, err
}

func parsePageSize(number, unit string) (uint64, error) {
	n, err := strconv.ParseUint(number, 10, 32)
	if err != nil {
		return 0, err
	}
	switch unit {
	case "B":
		return n, nil
	case "KiB":
		return n << 10, nil
	case "MiB":
		return n << 20, nil
	case "GiB":
		return n << 30, nil
	}
	return 0, fmt.Errorf("unknown unit %q", unit)
}
