//go:build !race

package migrate

const underRace = false
