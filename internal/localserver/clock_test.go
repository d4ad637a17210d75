package localserver

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestManualClock(t *testing.T) {
	start := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	clock := NewManualClock(start)
	var fired []string
	at := func(name string, d time.Duration) func() bool {
		return clock.AfterFunc(d, func() { fired = append(fired, name+" "+clock.Now().Sub(start).String()) })
	}
	at("b", 2*time.Second)
	at("a", time.Second)
	stopped := at("c", time.Second)
	clock.AfterFunc(3*time.Second, func() { at("nested", time.Second) })
	assert.True(t, stopped())
	assert.False(t, stopped())
	clock.Advance(2500 * time.Millisecond)
	assert.Equal(t, []string{"a 1s", "b 2s"}, fired)
	assert.Equal(t, start.Add(2500*time.Millisecond), clock.Now())
	clock.Advance(time.Hour)
	assert.Equal(t, []string{"a 1s", "b 2s", "nested 4s"}, fired)
}

func TestManualClockDrivesTheServer(t *testing.T) {
	clock := NewManualClock(time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC))
	advance := func(d time.Duration) {
		synctest.Wait()
		clock.Advance(d)
		synctest.Wait()
	}
	inWorld(t, Options{Clock: clock, StartupSettle: time.Second, Retention: time.Hour}, func(w *world) {
		id := w.create(command("ignore-term")).GetSandboxId()
		time.Sleep(time.Minute)
		assert.Equal(t, creating, w.state(id))
		advance(time.Second)
		assert.Equal(t, running, w.state(id))
		w.delete(id, 10*time.Second)
		advance(10*time.Second - 1)
		assert.Equal(t, terminating, w.state(id))
		advance(1)
		assert.Equal(t, completed, w.state(id))
		st := w.get(id).GetStatus()
		assert.Equal(t, 11*time.Second, st.GetEndTime().AsTime().Sub(st.GetCreateTime().AsTime()))
		advance(time.Hour)
		assert.Empty(t, w.srv.Sandboxes())
	})
}
