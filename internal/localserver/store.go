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
	keys      map[requestKey]createReplay
}

func newStore(clock Clock, retention time.Duration) *store {
	return &store{
		clock:     clock,
		retention: retention,
		byID:      make(map[string]*record),
		keys:      make(map[requestKey]createReplay),
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

// index is where a position is, or belongs, in the order.
func (s *store) index(p position) (int, bool) {
	return slices.BinarySearchFunc(s.ordered, p, func(r *record, p position) int { return r.position().compare(p) })
}

func (s *store) add(r *record) {
	s.byID[r.id] = r
	i, _ := s.index(r.position())
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
	delete(s.keys, r.key)
	if i, ok := s.index(r.position()); ok {
		s.ordered = slices.Delete(s.ordered, i, i+1)
	}
}
