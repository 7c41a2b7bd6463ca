package process

import (
	"os"
	"strings"
)

// LogTail returns the last lines of a log file for an error text.
func LogTail(path string) string {
	file, err := os.Open(path)
	if err != nil {
		return "its log cannot be read: " + err.Error()
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return "its log cannot be read: " + err.Error()
	}
	text := make([]byte, min(info.Size(), logTail))
	n, _ := file.ReadAt(text, info.Size()-int64(len(text)))
	lines := strings.Split(strings.TrimSpace(string(text[:n])), "\n")
	tail := strings.Join(lines[max(0, len(lines)-logLines):], "\n")
	if tail == "" {
		return "it said nothing"
	}
	return "it said: " + tail
}
