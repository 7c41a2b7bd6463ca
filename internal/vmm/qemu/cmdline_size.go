package qemu

import (
	"fmt"
	"math/big"
	"strings"

	"github.com/lazymig/lazymig"
)

// parseSize reads a size as QEMU does: a decimal number, perhaps with a
// fraction, and a suffix of one letter (B, K, M, G, T, P, E; powers of 1024),
// or a hexadecimal number without a suffix. The result is in bytes.
func parseSize(s string) (uint64, error) {
	number, shift := s, uint(0)
	isHex := strings.HasPrefix(s, "0x") || strings.HasPrefix(s, "0X")
	if n := len(s); n > 0 && !isHex {
		if i := strings.IndexByte("BKMGTPE", s[n-1]&^0x20); i >= 0 {
			number, shift = s[:n-1], 10*uint(i)
		}
	}
	value, ok := parseNumber(number, isHex)
	if !ok {
		return 0, fmt.Errorf("parse size %q: write bytes, or a number with one of K, M, G, T", s)
	}
	value.Mul(value, new(big.Rat).SetInt(new(big.Int).Lsh(big.NewInt(1), shift)))
	bytes := new(big.Int).Quo(value.Num(), value.Denom())
	if !bytes.IsUint64() || bytes.Uint64() > lazymig.MaxBytes {
		return 0, fmt.Errorf("parse size %q: more than %d bytes", s, lazymig.MaxBytes)
	}
	return bytes.Uint64(), nil
}

// parseNumber accepts digits with at most one decimal point, or 0x and
// hexadecimal digits; big.Rat alone would also take fractions and exponents.
func parseNumber(s string, isHex bool) (*big.Rat, bool) {
	if len(s) > maxSizeDigits {
		return nil, false
	}
	if isHex {
		n, ok := new(big.Int).SetString(s[2:], 16)
		if !ok || strings.Trim(s[2:], "0123456789abcdefABCDEF") != "" {
			return nil, false
		}
		return new(big.Rat).SetInt(n), true
	}
	if s == "" || s[0] == '.' || strings.Trim(s, "0123456789.") != "" {
		return nil, false
	}
	return new(big.Rat).SetString(s)
}
