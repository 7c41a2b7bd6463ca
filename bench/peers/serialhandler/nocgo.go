//go:build !cgo

package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "serialhandler: built without cgo, which userfaultfd-go needs: build it with CGO_ENABLED=1 and a C compiler")
	os.Exit(1)
}
