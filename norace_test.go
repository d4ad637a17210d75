//go:build !race

package cwsandbox_test

// raceDetector says that the program was built with it.
const raceDetector = false
