//go:build linux || darwin

package cwsandbox_test

import (
	"io"
	"net"
	"testing"
)

// discardServer takes what comes and answers with a byte when it has ended.
func discardServer(b *testing.B) string {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				io.Copy(io.Discard, c)
				c.Write([]byte{0})
			}()
		}
	}()
	return l.Addr().String()
}

func BenchmarkDial(b *testing.B) {
	with, _ := newProcessBench(b)
	address := discardServer(b)
	b.ReportAllocs()
	for b.Loop() {
		c, err := with.sandbox.DialContext(b.Context(), "tcp", address)
		if err != nil {
			b.Fatal(err)
		}
		c.Close()
	}
}

// BenchmarkConnWrite sends as much as BenchmarkUpload does.
func BenchmarkConnWrite(b *testing.B) {
	with, _ := newProcessBench(b)
	address, data := discardServer(b), make([]byte, streamSize)
	b.SetBytes(streamSize)
	b.ReportAllocs()
	for b.Loop() {
		c, err := with.sandbox.DialContext(b.Context(), "tcp", address)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := c.Write(data); err != nil {
			b.Fatal(err)
		}
		if err := c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
			b.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, c); n != 1 || err != nil {
			b.Fatal(n, err)
		}
		c.Close()
	}
}
