package agent

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

const oomScoreFile = "/proc/self/oom_score_adj"

// protect asks the kernel to spare this process when memory is short. It
// returns the score from before. Ordinary users may not lower the score: they
// get the error and go on.
func protect() (before int, err error) {
	text, err := os.ReadFile(oomScoreFile)
	if err != nil {
		return 0, fmt.Errorf("read the score for the out-of-memory killer: %w", err)
	}
	before, err = strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0, fmt.Errorf("parse %s: %w", oomScoreFile, err)
	}
	if before <= oomScore {
		return before, nil
	}
	if err := os.WriteFile(oomScoreFile, []byte(strconv.Itoa(oomScore)), 0); err != nil {
		return before, fmt.Errorf("lower the score for the out-of-memory killer: %w", err)
	}
	return before, nil
}
