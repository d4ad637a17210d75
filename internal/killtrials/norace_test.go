//go:build linux && !race

package killtrials

const defaultTrials = 200
