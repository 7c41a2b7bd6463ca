// Package selfsigned makes the throwaway certificate of a peer that is measured
// with TLS but has no authority of its own.
package selfsigned
