package main

import (
	"fmt"
	"math"
	"net/netip"
	"syscall"
	"time"
)

const (
	unknown = time.Duration(math.MaxInt64)

	warmAnswers   = 1 // per connection, before a closed loop's window opens
	windowAnswers = 4 // per connection, before it closes
	maxWarmup     = 10 * time.Second
	maxStretch    = 5 // times the window that was asked for

	firstBufferBytes   = 64 << 10
	sweepEvery         = 100 * time.Millisecond
	maxConnectFailures = 100 // in a row
)

type connection struct {
	fd       int
	request  int // index into the plan's requests
	unsent   []byte
	received []byte // buffer of which the first `length` bytes are filled
	length   int
	busy     bool
	began    time.Duration // since the run's start: intended in an open loop, else sent
	sent     time.Duration
}

type run struct {
	plan        *Plan
	address     netip.AddrPort
	poller      *poller
	connections []*connection
	byFD        map[int]*connection
	idle        []*connection
	arrivals    []time.Duration // of the open loop, ascending
	due         []time.Duration // arrived, no connection free yet
	next        int             // request to send next
	start       time.Time
	opens, ends time.Duration // the measured window
	fixed       bool          // whether the window is known: a closed loop gives a slow server more time
	answered    int           // in the warm-up, then in the window
	failures    int           // connects in a row
	report      Report
	latencies   []time.Duration
	finished    []time.Duration // when each of the latencies' answers came
}

func execute(plan *Plan) (*Report, error) {
	span := duration(plan.WarmupSeconds + plan.Seconds)
	arrivals, err := schedule(plan.Arrivals, plan.Rate, span, plan.Seed)
	if err != nil {
		return nil, err
	}
	poller, err := newPoller()
	if err != nil {
		return nil, err
	}
	run := &run{
		plan: plan, poller: poller, address: netip.MustParseAddrPort(plan.Address), byFD: map[int]*connection{},
		arrivals: arrivals, opens: duration(plan.WarmupSeconds), ends: span, report: newReport(),
		latencies: make([]time.Duration, 0, 1<<20),
	}
	for range plan.Connections {
		connection := &connection{fd: -1, received: make([]byte, firstBufferBytes)}
		if err := run.open(connection); err != nil {
			return nil, fmt.Errorf("connecting to %s: %w", plan.Address, err)
		}
		run.connections = append(run.connections, connection)
	}
	if plan.Arrivals == closed {
		run.opens, run.ends = unknown, unknown
	} else {
		run.fixed = true
	}
	if err := run.loop(); err != nil {
		return nil, err
	}
	run.finish()
	return &run.report, nil
}

func (run *run) loop() error {
	run.start = time.Now()
	sweep := time.Duration(0)
	for {
		now := time.Since(run.start)
		if now >= sweep {
			run.expire(now)
			sweep = now + sweepEvery
		}
		if run.failures > maxConnectFailures {
			return fmt.Errorf("%s refuses connections", run.plan.Address)
		}
		run.fix(now)
		if run.over(now) {
			return nil
		}
		run.feed(now)
		wake := sweep
		if len(run.arrivals) > 0 {
			wake = min(wake, run.arrivals[0])
		}
		if now < run.ends {
			wake = min(wake, run.ends)
		}
		events, err := run.poller.wait(wake - now)
		if err != nil {
			return err
		}
		for index := range events {
			if connection := run.byFD[int(events[index].Fd)]; connection != nil {
				run.serve(connection, events[index].Events)
			}
		}
	}
}

// over tells whether the time or the requests are used up and what was sent is answered, so that the next run does not
// wait behind it. What never comes runs into its timeout.
func (run *run) over(now time.Duration) bool {
	answered := len(run.due) == 0 && len(run.idle) == len(run.connections)
	if answered && run.plan.Arrivals == closed && run.report.Sent >= run.plan.MaxRequests {
		run.ends = min(run.ends, now)
	}
	return now >= run.ends && len(run.arrivals) == 0 && answered
}

// fix sets a closed loop's window as it goes: it opens once every connection may have been answered and lasts until
// each may have been answered several times, within bounds.
func (run *run) fix(now time.Duration) {
	span := duration(run.plan.Seconds)
	switch {
	case run.fixed:
	case run.opens == unknown:
		warm := duration(run.plan.WarmupSeconds)
		if now >= warm && run.answered >= min(warmAnswers*len(run.connections), run.plan.MaxRequests) || now >= warm+maxWarmup {
			run.opens, run.answered = now, 0
		}
	case now >= run.opens+span:
		if run.answered >= windowAnswers*len(run.connections) || now >= run.opens+maxStretch*span {
			run.ends, run.fixed = now, true
		}
	}
}

// feed gives idle connections their next request.
func (run *run) feed(now time.Duration) {
	if run.plan.Arrivals == closed {
		for now < run.ends && len(run.idle) > 0 && run.report.Sent < run.plan.MaxRequests {
			run.send(run.take(), now, now)
		}
		return
	}
	for len(run.arrivals) > 0 && run.arrivals[0] <= now {
		run.due = append(run.due, run.arrivals[0])
		run.arrivals = run.arrivals[1:]
	}
	for len(run.due) > 0 && len(run.idle) > 0 && run.report.Sent < run.plan.MaxRequests {
		intended := run.due[0]
		run.due = run.due[1:]
		run.send(run.take(), intended, now)
	}
	if run.report.Sent >= run.plan.MaxRequests {
		run.arrivals, run.due = nil, nil
	}
}

func (run *run) take() *connection {
	last := len(run.idle) - 1
	connection := run.idle[last]
	run.idle = run.idle[:last]
	return connection
}

func (run *run) send(connection *connection, began, now time.Duration) {
	connection.request = run.next
	run.next = (run.next + 1) % len(run.plan.Requests)
	connection.unsent = run.plan.bodies[connection.request]
	connection.busy, connection.began, connection.sent = true, began, now
	connection.length = 0
	run.report.Sent++
	run.flush(connection)
}

func (run *run) flush(connection *connection) {
	waited := len(connection.unsent) < len(run.plan.bodies[connection.request])
	for len(connection.unsent) > 0 {
		count, errno := write(connection.fd, connection.unsent)
		switch errno {
		case 0:
			connection.unsent = connection.unsent[count:]
		case syscall.EINTR:
		case syscall.EAGAIN:
			_ = run.poller.change(connection.fd, syscall.EPOLLIN|syscall.EPOLLOUT)
			return
		default:
			// The server may have answered before it closed, a refusal of a body, say: read on.
			connection.unsent = nil
		}
	}
	if waited {
		_ = run.poller.change(connection.fd, syscall.EPOLLIN)
	}
}

func (run *run) serve(connection *connection, events uint32) {
	if events&syscall.EPOLLOUT != 0 && len(connection.unsent) > 0 {
		run.flush(connection)
	}
	if events&(syscall.EPOLLIN|syscall.EPOLLHUP|syscall.EPOLLERR) == 0 {
		return
	}
	ended := false
	for {
		if connection.length == len(connection.received) {
			connection.received = append(connection.received, make([]byte, len(connection.received))...)
		}
		room := connection.received[connection.length:]
		count, errno := read(connection.fd, room)
		if errno == syscall.EINTR {
			continue
		}
		if errno == syscall.EAGAIN {
			break
		}
		ended = errno != 0 || count == 0
		if ended {
			break
		}
		connection.length += count
		if count < len(room) {
			break // level-triggered: what comes later is told again
		}
	}
	run.digest(connection, ended)
}

func (run *run) digest(connection *connection, ended bool) {
	if !connection.busy {
		if ended || connection.length > 0 {
			run.reopen(connection) // closed while idle, or spoke without being asked
		}
		return
	}
	found, _, err := parseResponse(connection.received[:connection.length], ended)
	switch {
	case err == nil:
		run.record(connection, found)
		if found.closes || ended {
			run.reopen(connection)
		} else {
			run.release(connection)
		}
	case err != errIncomplete:
		run.fail(connection, "malformed")
	case ended:
		run.fail(connection, "closed")
	}
}

func (run *run) record(connection *connection, found response) {
	now := time.Since(run.start)
	// A closed loop counts what ends inside the window, an open loop what was due in it.
	at := now
	if run.plan.Arrivals != closed {
		at = connection.began
	}
	run.answered++
	if at < run.opens || run.opens == unknown || at >= run.ends {
		return
	}
	run.report.countStatus(found.status)
	if found.status != 200 {
		run.report.keepExample(found.body)
		return
	}
	if !run.plan.Answer.right(found, run.plan.Requests[connection.request].Expected, run.plan.Tolerance) {
		run.report.Wrong++
		run.report.keepExample(found.body)
		return
	}
	run.latencies = append(run.latencies, now-connection.began)
	run.finished = append(run.finished, now)
}

func (run *run) release(connection *connection) {
	connection.busy = false
	run.idle = append(run.idle, connection)
}

func (run *run) fail(connection *connection, cause string) {
	run.report.Errors[cause]++
	run.reopen(connection)
}

func (run *run) expire(now time.Duration) {
	limit := duration(run.plan.TimeoutSeconds)
	for _, connection := range run.connections {
		if connection.busy && now-connection.sent > limit {
			run.fail(connection, "timeout")
		} else if connection.fd < 0 {
			run.reopen(connection)
		}
	}
}

func (run *run) open(connection *connection) error {
	fd, err := connect(run.address)
	if err != nil {
		return err
	}
	connection.fd = fd
	run.byFD[fd] = connection
	run.release(connection)
	return run.poller.add(fd, syscall.EPOLLIN)
}

// reopen replaces a connection; one that is refused is tried again at the next sweep.
func (run *run) reopen(connection *connection) {
	if connection.fd >= 0 {
		if !connection.busy {
			run.forget(connection)
		}
		delete(run.byFD, connection.fd)
		_ = syscall.Close(connection.fd)
		connection.fd, connection.busy, connection.length, connection.unsent = -1, false, 0, nil
	}
	if err := run.open(connection); err != nil {
		run.failures++
		run.report.Errors["connect"]++
		return
	}
	run.failures = 0
}

func (run *run) forget(connection *connection) {
	for index, idle := range run.idle {
		if idle == connection {
			run.idle = append(run.idle[:index], run.idle[index+1:]...)
			return
		}
	}
}

func (run *run) finish() {
	for _, connection := range run.connections {
		if connection.fd >= 0 {
			_ = syscall.Close(connection.fd)
		}
	}
	run.opens = min(run.opens, run.ends)
	if run.report.Seconds = (run.ends - run.opens).Seconds(); run.report.Seconds > 0 {
		slack := 0
		if run.plan.Arrivals == closed {
			slack = len(run.connections)
		}
		run.report.RequestsPerSecond = throughput(run.finished, run.report.Seconds, slack)
	}
	run.report.Latency = summarize(run.latencies)
}
