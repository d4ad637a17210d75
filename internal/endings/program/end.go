//go:build linux

package program

import (
	"fmt"
	"log"
	"os"
	"runtime"
	"strings"
	"syscall"

	"github.com/cwsandbox/cwsandbox-go/internal/endings"
)

// end ends the program, or the function that has called it. It runs on the main goroutine.
func (p *program) end() int {
	switch p.Ending {
	case endings.Returns:
		return 0
	case endings.Exits:
		p.library.Exit(3)
	case endings.OSExits:
		os.Exit(3)
	case endings.Fatal:
		log.Fatal("as the test wants it")
	case endings.Panics:
		panic("as the test wants it")
	case endings.PanicsBeside:
		go panic("as the test wants it")
		select {}
	case endings.NilDereference:
		return *nothing()
	case endings.Goexits:
		runtime.Goexit()
	case endings.BrokenPipe:
		for { // until the reader has gone
			fmt.Println("another line")
		}
	case endings.OutOfMemory:
		Must(exhaust())
	}
	return Lost
}

func nothing() *int { return nil }

// exhaust uses up the memory that it allows the process. It returns only when that fails.
func exhaust() error {
	const more = 64 << 20
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return err
	}
	var pages uint64
	if _, err := fmt.Sscan(string(statm), &pages); err != nil {
		return err
	}
	limit := pages*uint64(os.Getpagesize()) + more
	if err := syscall.Setrlimit(syscall.RLIMIT_AS, &syscall.Rlimit{Cur: limit, Max: limit}); err != nil {
		return err
	}
	var kept []string
	for {
		kept = append(kept, strings.Repeat("x", more))
		runtime.KeepAlive(kept)
	}
}
