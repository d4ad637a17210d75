package localserver

import (
	"encoding/binary"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Types of HTTP/2 frames (RFC 9113, section 6).
const (
	settingsFrame = 4
	pingFrame     = 6
	goAwayFrame   = 7
)

// writeFrame sends a frame of the connection, without flags.
func writeFrame(conn net.Conn, kind byte, payload []byte) error {
	header := []byte{0, 0, byte(len(payload)), kind, 0, 0, 0, 0, 0}
	_, err := conn.Write(append(header, payload...))
	return err
}

func readFrame(conn net.Conn) (kind byte, ack bool, payload []byte, err error) {
	header := make([]byte, 9)
	if _, err := io.ReadFull(conn, header); err != nil {
		return 0, false, nil, err
	}
	payload = make([]byte, int(header[0])<<16|int(binary.BigEndian.Uint16(header[1:])))
	_, err = io.ReadFull(conn, payload)
	return header[3], header[4]&1 != 0, payload, err
}

func TestPings(t *testing.T) {
	t.Run("C-013", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			conn, err := w.lis.DialContext(w.ctx)
			require.NoError(w, err)
			_, err = io.WriteString(conn, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
			require.NoError(w, err)
			require.NoError(w, writeFrame(conn, settingsFrame, nil))
			answers := make(chan byte, 20)
			go func() {
				defer close(answers)
				for {
					kind, ack, payload, err := readFrame(conn)
					if err != nil {
						return
					}
					assert.NotEqual(w, byte(goAwayFrame), kind, "%q", payload)
					if kind == pingFrame && ack {
						answers <- payload[7]
					}
				}
			}()
			for i := range byte(12) {
				// No clock and no network keeps the interval: every second ping is early.
				time.Sleep(5*time.Second + 200*time.Millisecond*time.Duration(1-2*int(i%2)))
				require.NoError(w, writeFrame(conn, pingFrame, []byte{0, 0, 0, 0, 0, 0, 0, i}))
				synctest.Wait()
				require.Len(w, answers, 1)
				require.Equal(w, i, <-answers)
			}
			require.NoError(w, conn.Close())
			_, open := <-answers
			assert.False(w, open)
		})
	})
}
