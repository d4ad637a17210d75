// Package cleanuptest has no code of its own: its tests and benchmarks end real programs that track sandboxes, while the
// service is in trouble or while there are very many of them.
//
//	go test ./internal/cleanuptest                         # faults, and what needs a process among the defects of others
//	go test ./internal/cleanuptest -run '^$' -bench Exit    # how long the end of very many takes
package cleanuptest
