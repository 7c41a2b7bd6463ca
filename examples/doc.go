// Package examples has scripts to start from, one folder for each way to use
// lazymig, and the tests that run those which can be run here.
package examples
