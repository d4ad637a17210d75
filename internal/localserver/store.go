package localserver

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// maxKept is how many ended sandboxes are kept at most.
const maxKept = 10_000

// The store holds the records of a server. Its mutex is the one that guards them; every method but the constructor
// expects it to be held.
type store struct {
	sync.Mutex
	clock     Clock
	retention time.Duration
	byID      map[string]*record
	ordered   []*record // by position, oldest first
	ended     []*record // in the order of their ends
	active    int       // not ended
	creates   replays[*record]
	snapshots snapshotStore
}

func newStore(clock Clock, retention time.Duration) *store {
	return &store{
		clock:     clock,
		retention: retention,
		byID:      make(map[string]*record),
		snapshots: newSnapshotStore(),
	}
}

// A position is a record's place in every list: by time, then by id backwards, because lists run from the end.
type position struct {
	create time.Time
	id     string
}

func (p position) compare(q position) int {
	if c := p.create.Compare(q.create); c != 0 {
		return c
	}
	return cmp.Compare(q.id, p.id)
}

func (r *record) position() position { return position{r.create, r.id} }

func (r *record) bytes() int { return r.size }

func (s *store) add(r *record) {
	s.byID[r.id] = r
	i, _ := indexOf(s.ordered, r.position())
	s.ordered = slices.Insert(s.ordered, i, r)
	s.active++
}

// noteEnd is told of every record that has become terminal.
func (s *store) noteEnd(r *record) {
	s.active--
	s.ended = append(s.ended, r)
}

// find returns the record that the caller asks for, or nil when there is none that it may see.
func (s *store) find(id string, who identity) *record {
	now := s.clock.Now()
	s.sweep(now)
	r := s.byID[id]
	if r == nil || !r.visibleTo(who, now) {
		return nil
	}
	return r
}

// sweep forgets the records whose retention is over.
func (s *store) sweep(now time.Time) {
	n := 0
	for _, r := range s.ended {
		if now.Before(r.end.Add(s.retention)) && len(s.ended)-n <= maxKept {
			break
		}
		s.remove(r)
		n++
	}
	if n > 0 {
		s.ended = slices.Delete(s.ended, 0, n)
	}
}

func (s *store) remove(r *record) {
	delete(s.byID, r.id)
	s.creates.remove(r.key)
	s.snapshots.deletes.remove(r.deleteKey)
	if i, ok := indexOf(s.ordered, r.position()); ok {
		s.ordered = slices.Delete(s.ordered, i, i+1)
	}
}
