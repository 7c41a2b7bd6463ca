// Package vmm is the vocabulary that the packages below it, each of which
// adapts a VMM, share with the engine: values only.
package vmm
