package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const row = `{"outputs":[{"name":"scores","shape":[1,3],"data":[1.5, -2e-1,3]}]}`

func TestNumbersBehindTheKeyAreCompared(t *testing.T) {
	cases := map[string]struct {
		body, key string
		expected  []float64
		right     bool
	}{
		"equal":            {row, "data", []float64{1.5, -0.2, 3}, true},
		"within tolerance": {row, "data", []float64{1.5004, -0.2, 3}, true},
		"another value":    {row, "data", []float64{1.5, -0.2, 3.1}, false},
		"one too many":     {row, "data", []float64{1.5, -0.2}, false},
		"one too few":      {row, "data", []float64{1.5, -0.2, 3, 4}, false},
		"another key":      {row, "scores", []float64{1.5, -0.2, 3}, false},
		"nested":           {`{"scores" : [[1],[2]]}`, "scores", []float64{1, 2}, true},
		"without a key":    {`[[1,2]]`, "", []float64{1, 2}, true},
		"a word":           {`{"scores":[null]}`, "scores", []float64{0}, false},
		"not a number":     {`{"scores":[NaN]}`, "scores", []float64{1}, false},
		"cut":              {`{"scores":[[1,2]`, "scores", []float64{1, 2}, false},
		"a bare number":    {`{"scores":1}`, "scores", []float64{1}, false},
		"empty":            {``, "scores", []float64{1}, false},
	}
	for name, test := range cases {
		if right := jsonRight([]byte(test.body), test.key, test.expected, 1e-3); right != test.right {
			t.Errorf("%s: %v, expected %v", name, right, test.right)
		}
	}
}

func TestBinaryNumbersAreCompared(t *testing.T) {
	values := []byte(`{"outputs":[]}`)
	start := len(values)
	for _, value := range []float32{1, -2.5} {
		values = binary.LittleEndian.AppendUint32(values, math.Float32bits(value))
	}
	answer := Answer{Kind: "binary"}
	for name, test := range map[string]struct {
		start    int
		expected []float64
		right    bool
	}{
		"equal":           {start, []float64{1, -2.5}, true},
		"another value":   {start, []float64{1, 2.5}, false},
		"one too many":    {start, []float64{1}, false},
		"without a start": {-1, []float64{1, -2.5}, false},
		"behind the end":  {len(values) + 1, nil, false},
	} {
		if right := answer.right(response{body: values, jsonLength: test.start}, test.expected, 1e-3); right != test.right {
			t.Errorf("%s: %v, expected %v", name, right, test.right)
		}
	}
}

func TestAnswersAreParsed(t *testing.T) {
	cases := map[string]struct {
		data  string
		ended bool
		body  string
		size  int
		err   error
	}{
		"length":      {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP", false, "ok", 40, nil},
		"incomplete":  {"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok", false, "", 0, errIncomplete},
		"chunked":     {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n1;x\r\n!\r\n0\r\n\r\n", false, "ok!", 67, nil},
		"chunks cut":  {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", false, "", 0, errIncomplete},
		"until close": {"HTTP/1.1 200 OK\r\n\r\nok", true, "ok", 21, nil},
		"continue":    {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n!", false, "!", 64, nil},
		"no answer":   {"SSH-2.0-something or other\r\n\r\n", false, "", 0, errMalformed},
		"no length":   {"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n", false, "", 0, errMalformed},
	}
	for name, test := range cases {
		found, size, err := parseResponse([]byte(test.data), test.ended)
		if err != test.err {
			t.Errorf("%s: %v, expected %v", name, err, test.err)
		}
		if err == nil && (string(found.body) != test.body || size != test.size || found.status != 200) {
			t.Errorf("%s: %d %q in %d bytes, expected 200 %q in %d", name, found.status, found.body, size, test.body, test.size)
		}
	}
}

func TestArrivalsKeepTheirRate(t *testing.T) {
	const rate, seconds = 500.0, 400.0
	for _, arrivals := range []string{"paced", "poisson", "bursty"} {
		times, err := schedule(arrivals, rate, duration(seconds), 7)
		if err != nil {
			t.Fatal(err)
		}
		again, _ := schedule(arrivals, rate, duration(seconds), 7)
		if mean := float64(len(times)) / seconds; math.Abs(mean/rate-1) > 0.1 {
			t.Errorf("%s: %g per second, expected %g", arrivals, mean, rate)
		}
		for index := range times {
			if times[index] != again[index] || index > 0 && times[index] < times[index-1] {
				t.Fatalf("%s: not ascending, or not the same for the same seed", arrivals)
			}
		}
	}
}

func TestThroughputOfBatchesDoesNotDependOnTheWindowsEdge(t *testing.T) {
	var times []time.Duration
	for batch := range 4 {
		for range 64 {
			times = append(times, time.Duration(batch)*time.Second)
		}
	}
	if found := throughput(times, 3.2, 64); math.Abs(found-64) > 0.1 {
		t.Errorf("%g per second, expected 64", found)
	}
	if found := throughput(times[:64], 2, 64); found != 32 {
		t.Errorf("%g per second of a single batch, expected the count over the time", found)
	}
	// A server that stops in the middle of the window is not as fast as it was before.
	if found := throughput(times, 8, 64); found > 40 {
		t.Errorf("%g per second of a server that stalls, expected at most (256+64)/8", found)
	}
}

func planFor(t *testing.T, address, body string, expected []float64) *Plan {
	t.Helper()
	file := filepath.Join(t.TempDir(), "request")
	text := fmt.Sprintf("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return &Plan{
		Address: address, Connections: 4, Arrivals: closed, Seconds: 0.2, MaxRequests: 100_000, TimeoutSeconds: 5, Seed: 1,
		Requests: []Request{{File: file, Expected: expected}}, bodies: [][]byte{[]byte(text)},
		Answer: Answer{Kind: "json", Key: "scores"}, Tolerance: 1e-3,
	}
}

func serve(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: handler}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	return listener.Addr().String()
}

func TestWrongAnswersAndStatusesAreCounted(t *testing.T) {
	count := 0
	address := serve(t, func(writer http.ResponseWriter, request *http.Request) {
		_, _ = io.Copy(io.Discard, request.Body)
		switch count++; count % 3 {
		case 0:
			writer.WriteHeader(http.StatusTooManyRequests)
		case 1:
			_, _ = writer.Write([]byte(`{"scores":[1]}`))
		default:
			_, _ = writer.Write([]byte(`{"scores":[2]}`))
		}
	})
	plan := planFor(t, address, "{}", []float64{1})
	plan.Connections, plan.MaxRequests, plan.Seconds = 1, 90, 5
	report, err := execute(plan)
	if err != nil {
		t.Fatal(err)
	}
	// The first answer opens the window.
	if report.Sent != 90 || report.Statuses["429"] != 30 || report.Wrong < 29 || report.Wrong > 30 || len(report.Errors) > 0 {
		t.Errorf("%+v", report)
	}
}

func TestLargeBodiesGoOutWhole(t *testing.T) {
	body := strings.Repeat("0123456789", 300_000)
	address := serve(t, func(writer http.ResponseWriter, request *http.Request) {
		received, _ := io.ReadAll(request.Body)
		fmt.Fprintf(writer, `{"scores":[%d]}`, len(received))
	})
	report, err := execute(planFor(t, address, body, []float64{3_000_000}))
	if err != nil {
		t.Fatal(err)
	}
	if report.Wrong > 0 || report.Statuses["200"] == 0 || len(report.Errors) > 0 {
		t.Errorf("%+v", report)
	}
}

func TestLatencyOfAnOpenLoopCountsFromTheIntendedTime(t *testing.T) {
	address := serve(t, func(writer http.ResponseWriter, _ *http.Request) {
		time.Sleep(20 * time.Millisecond)
		_, _ = writer.Write([]byte(`{"scores":[1]}`))
	})
	plan := planFor(t, address, "{}", []float64{1})
	// Twice what one connection gets through: half of the requests wait for it, the last ones longest.
	plan.Connections, plan.Arrivals, plan.Rate, plan.Seconds = 1, "paced", 100, 0.5
	report, err := execute(plan)
	if err != nil {
		t.Fatal(err)
	}
	if report.Answers != 50 || report.Latency.Max < 400 {
		t.Errorf("%+v", report)
	}
}

func TestAServerThatClosesIsAnError(t *testing.T) {
	address := serve(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	plan := planFor(t, address, "{}", []float64{1})
	plan.MaxRequests = 20
	report, err := execute(plan)
	if err != nil {
		t.Fatal(err)
	}
	if report.Errors["closed"] != 20 {
		t.Errorf("%+v", report)
	}
}

func TestPlansThatWouldLoadOthersAreRefused(t *testing.T) {
	for name, change := range map[string]func(*Plan){
		"another machine":  func(plan *Plan) { plan.Address = "192.0.2.1:80" },
		"without an end":   func(plan *Plan) { plan.Seconds = 1e9 },
		"too many at once": func(plan *Plan) { plan.Connections = 1e6 },
		"no rate":          func(plan *Plan) { plan.Arrivals = "poisson" },
		"unknown arrivals": func(plan *Plan) { plan.Arrivals, plan.Rate = "random", 1 },
	} {
		plan := planFor(t, "127.0.0.1:1", "", nil)
		if err := plan.check(); err != nil {
			t.Fatal(err)
		}
		change(plan)
		if plan.check() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
