// Package process reads what a process costs: its memory without the guest
// RAM that it maps, its CPU time and its open descriptors. It owns nothing and
// reads /proc only. The first call to make is [Usage].
package process
