package cwsandbox

import (
	"context"
	"iter"
	"sync"
)

const (
	defaultWorkers = 8
	// ahead is how many calls for each worker may be begun or wait behind one whose result is not there yet.
	ahead = 4
)

// Map calls the function with each of the inputs, each once, in sandboxes of the session, several at a time: see
// [WithWorkers]. It yields the results in the order of the inputs, each beside the error of that call, as [Func.Call] has
// it; an error of a call does not end the iteration.
//
// What makes all others fail too ends it, and is the last that it yields: the end of ctx or of the session, an executable that
// cannot run in the sandboxes, and that none can be made. A sandbox in which something was left unclear is stopped, and
// another one made in its place. [Collect] ends with the first error of any kind.
//
// Sandboxes are made as they are needed, by [Session.Run] with the session's defaults. They stay warm: the session keeps
// those that are idle for the next Map, of any function, and stops them when it is closed. Breaking off the loop ends the
// calls under way, and stops their sandboxes.
//
// Inputs are taken and encoded on the caller's goroutine, a few for each worker before the first result is there. Options are
// checked, and the work begins, when the iteration does; the sequence may be used again, and then does all again.
func (f *Func[In, Out]) Map(ctx context.Context, session *Session, inputs iter.Seq[In], opts ...FuncOption) iter.Seq2[Out, error] {
	return func(yield func(Out, error) bool) {
		cfg, c := newFuncConfig(opts), call{op: f.op()}
		if err := cfg.faults.err(c); err != nil {
			var none Out
			yield(none, err)
			return
		}
		e, err := cfg.open(c) // here, before a sandbox is made for it
		if err != nil {
			var none Out
			yield(none, err)
			return
		}
		e.Close()
		pool := newFuncPool(ctx, c, session.state, cfg)
		defer pool.close()
		next, stop := iter.Pull(inputs)
		defer stop()
		m := mapping[Out]{pool: pool, begin: func(results chan<- outcome[Out]) bool {
			in, ok := next()
			if !ok {
				return false
			}
			fail := func(err error) { results <- outcome[Out]{err: err} }
			input, err := f.encode(c, in) // now: what inputs yields is only lent
			if err != nil {
				fail(err)
				return true
			}
			pool.do(&funcJob{
				run: func(ctx context.Context, sb *Sandbox) aftermath {
					out, after, err := f.call(ctx, call{op: f.op(), sandbox: sb.s.id}, sb, input, cfg)
					pool.done(after, err) // whoever sees the result asks whether it is the last
					results <- outcome[Out]{out, err}
					return after
				},
				fail: fail,
			})
			return true
		}}
		m.yieldAll(ctx, yield)
	}
}

type outcome[Out any] struct {
	out Out
	err error
}

// mapping keeps calls in the order of their inputs.
type mapping[Out any] struct {
	pool  *funcPool
	begin func(results chan<- outcome[Out]) bool // false: there is no input left
	queue []chan outcome[Out]
	empty bool // no input is left
}

// yieldAll takes inputs until there are enough calls under way, or the next result is there.
func (m *mapping[Out]) yieldAll(ctx context.Context, yield func(Out, error) bool) {
	for {
		if len(m.queue) > 0 && (m.empty || len(m.queue) == cap(m.pool.jobs)) {
			select {
			case r := <-m.queue[0]:
				if !m.yield(r, yield) {
					return
				}
			case <-ctx.Done():
				m.yield(outcome[Out]{err: m.pool.call.wrap(ctxError(ctx))}, yield)
				return
			}
			continue
		}
		if m.empty {
			return
		}
		if len(m.queue) > 0 {
			select {
			case r := <-m.queue[0]:
				if !m.yield(r, yield) {
					return
				}
			default:
			}
		}
		results := make(chan outcome[Out], 1)
		if m.empty = !m.begin(results); !m.empty {
			m.queue = append(m.queue, results)
		}
	}
}

// yield reports whether there is more to come after this result.
func (m *mapping[Out]) yield(r outcome[Out], yield func(Out, error) bool) bool {
	m.queue = m.queue[1:]
	return yield(r.out, r.err) && !(r.err != nil && m.pool.over(r.err))
}

// funcJob is one call of a Map.
type funcJob struct {
	run  func(context.Context, *Sandbox) aftermath
	fail func(error) // instead of run
}

// funcPool runs the jobs of one Map.
type funcPool struct {
	call    call
	session *sessionState
	config  *funcConfig
	ctx     context.Context // ends with the Map
	cancel  context.CancelFunc
	jobs    chan *funcJob // holds all that can be under way, so that a job always fits
	running sync.WaitGroup

	mu      sync.Mutex
	limit   int // of workers; shrinks when a sandbox cannot be had
	workers int
	open    int   // jobs that are not over
	failed  error // no job can be run any more
}

func newFuncPool(ctx context.Context, c call, session *sessionState, cfg *funcConfig) *funcPool {
	limit := cfg.workers
	if limit == 0 {
		limit = defaultWorkers
	}
	p := &funcPool{call: c, session: session, config: cfg, limit: limit, jobs: make(chan *funcJob, ahead*limit)}
	p.ctx, p.cancel = context.WithCancel(ctx)
	return p
}

// close ends everything and waits for it.
func (p *funcPool) close() {
	p.cancel()
	p.running.Wait()
}

// over reports whether an error of a job is that of all.
func (p *funcPool) over(err error) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ctx.Err() != nil || p.failed == err
}

// do hands a job to a worker, and makes one more where there are more jobs than workers.
func (p *funcPool) do(j *funcJob) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failed != nil {
		j.fail(p.failed)
		return
	}
	p.open++
	p.jobs <- j
	if p.workers < min(p.open, p.limit) {
		p.workers++
		p.running.Go(p.work)
	}
}

// work runs jobs in a sandbox, and in another one when that was broken.
func (p *funcPool) work() {
	var sb *Sandbox
	for {
		select {
		case <-p.ctx.Done():
			p.session.release(sb)
			return
		case j := <-p.jobs:
			if p.ctx.Err() != nil { // nobody waits for it, and the sandbox is as good as before
				p.session.release(sb)
				return
			}
			if sb == nil {
				var err error
				if sb, err = p.sandbox(); err != nil {
					p.leave(j, err)
					return
				}
			}
			if j.run(p.ctx, sb) != intact { // of what was useless something may go on
				discardSandbox(sb)
				sb = nil
			}
		}
	}
}

// done counts a job that was run.
func (p *funcPool) done(after aftermath, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open--
	if after == useless {
		p.fail(err)
	}
}

// leave ends a worker that has no sandbox for its job. As long as there are others, they do its work.
func (p *funcPool) leave(j *funcJob, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.workers--
	p.limit = p.workers
	if p.workers > 0 && unfit(err) != useless {
		p.jobs <- j
		return
	}
	j.fail(err)
	p.open--
	p.fail(err)
}

// fail ends the pool. The caller holds the mutex.
func (p *funcPool) fail(err error) {
	if p.failed == nil {
		p.failed = err
	}
	for {
		select {
		case j := <-p.jobs:
			j.fail(p.failed)
			p.open--
		default:
			return
		}
	}
}

// sandbox returns one with the program in it: a warm one of the session, or a new one.
func (p *funcPool) sandbox() (*Sandbox, error) {
	for {
		sb := p.session.takeWarm()
		if sb == nil {
			break
		}
		info, err := sb.Refresh(p.ctx)
		switch {
		case err == nil && info.State == StateRunning:
			return p.provided(sb)
		case p.ctx.Err() != nil: // it says nothing about the sandbox
			p.session.release(sb)
			return nil, err
		}
		discardSandbox(sb)
	}
	sb, err := p.session.client.run(p.ctx, p.session, nil)
	if err != nil {
		return nil, err
	}
	return p.provided(sb)
}

func (p *funcPool) provided(sb *Sandbox) (*Sandbox, error) {
	c := p.call
	c.sandbox = sb.s.id
	if _, err := sb.s.provide(p.ctx, c, p.config); err != nil {
		discardSandbox(sb)
		return nil, err
	}
	return sb, nil
}

// discardSandbox begins to stop a sandbox. Its session waits for that.
func discardSandbox(sb *Sandbox) { sb.Stop(WithGrace(0)).Start() }

// release keeps an idle sandbox for the next Map. Nil is none.
func (st *sessionState) release(sb *Sandbox) {
	if sb == nil {
		return
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if !st.closing {
		st.warm = append(st.warm, sb)
	}
}

// takeWarm returns an idle sandbox, or nil.
func (st *sessionState) takeWarm() *Sandbox {
	st.mu.Lock()
	defer st.mu.Unlock()
	n := len(st.warm)
	if n == 0 {
		return nil
	}
	sb := st.warm[n-1]
	st.warm = st.warm[:n-1]
	return sb
}
