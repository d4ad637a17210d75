// Package killtrials has no code of its own: its tests kill a real program that creates, uses and stops sandboxes at random,
// at a random moment and with random signals, and expect that nothing is left behind.
//
//	go test ./internal/killtrials                                  # 200 trials with the reaper, and 200 with leases
//	go test ./internal/killtrials -v -timeout=1h -trials=1000      # 1,000 of each
//	go test ./internal/killtrials -run 'TestReaper/^17$' -seed=5   # one trial again
//
// Under the race detector there are 50 of each. The seed, which is printed, decides what a trial's program does and how it is killed, but not how the machine shares its
// time between those that take part.
package killtrials
