package guest

import (
	"fmt"
	"io"
)

// Modes of archive entries, as in stat(2).
const (
	modeDirectory = 0o040755
	modeProgram   = 0o100755
	modeFile      = 0o100644
	modeCharacter = 0o020600
)

// cpioWriter writes an archive in the "newc" format, which the kernel unpacks:
// per entry a header of 13 hexadecimal fields, the name and the contents, both
// padded to 4 bytes. The first error is kept.
type cpioWriter struct {
	w     io.Writer
	inode int
	err   error
}

// add appends an entry; major and minor are those of a device node.
func (c *cpioWriter) add(name string, mode, major, minor int, content []byte) {
	c.inode++
	c.printf("070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s\x00",
		c.inode, mode, 0, 0, 1, 0, len(content), 0, 0, major, minor, len(name)+1, 0, name)
	c.pad(110 + len(name) + 1)
	c.write(content)
	c.pad(len(content))
}

// close appends the entry that ends an archive.
func (c *cpioWriter) close() error {
	c.add("TRAILER!!!", 0, 0, 0, nil)
	return c.err
}

func (c *cpioWriter) pad(written int) {
	c.write(make([]byte, -written&3))
}

func (c *cpioWriter) printf(format string, args ...any) {
	if c.err == nil {
		_, c.err = fmt.Fprintf(c.w, format, args...)
	}
}

func (c *cpioWriter) write(b []byte) {
	if c.err == nil {
		_, c.err = c.w.Write(b)
	}
}
