//go:build linux && race

package killtrials

// defaultTrials are fewer under the race detector, where everything takes several times as long.
const defaultTrials = 50
