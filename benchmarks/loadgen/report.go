package main

import (
	"slices"
	"strconv"
	"time"
)

// Report is what one run saw, printed as JSON. Counts and latencies are of the measured window, without the warm-up.
type Report struct {
	Seconds           float64        `json:"seconds"`
	Answers           int            `json:"answers"`
	RequestsPerSecond float64        `json:"requests_per_second"` // right answers of status 200
	Statuses          map[string]int `json:"statuses"`
	Wrong             int            `json:"wrong"` // status 200 with other numbers than expected
	Errors            map[string]int `json:"errors"`
	Example           string         `json:"example,omitempty"` // the first answer that was wrong or not 200, cut
	Sent              int            `json:"sent"`              // warm-up included
	Latency           Latency        `json:"latency_milliseconds"`
}

// Latency is in milliseconds, of right answers: from the intended send time in an open loop, else from the send time.
type Latency struct {
	P50  float64 `json:"p50"`
	P95  float64 `json:"p95"`
	P99  float64 `json:"p99"`
	Mean float64 `json:"mean"`
	Max  float64 `json:"max"`
}

const exampleBytes = 300

func newReport() Report {
	return Report{Statuses: map[string]int{}, Errors: map[string]int{}}
}

func (report *Report) countStatus(status int) {
	report.Answers++
	report.Statuses[strconv.Itoa(status)]++
}

func (report *Report) keepExample(body []byte) {
	if report.Example == "" {
		report.Example = string(body[:min(len(body), exampleBytes)])
	}
}

func summarize(latencies []time.Duration) Latency {
	if len(latencies) == 0 {
		return Latency{}
	}
	slices.Sort(latencies)
	var sum time.Duration
	for _, latency := range latencies {
		sum += latency
	}
	return Latency{
		P50:  milliseconds(percentile(latencies, 50)),
		P95:  milliseconds(percentile(latencies, 95)),
		P99:  milliseconds(percentile(latencies, 99)),
		Mean: milliseconds(sum) / float64(len(latencies)),
		Max:  milliseconds(latencies[len(latencies)-1]),
	}
}

// throughput is the slope of answers over time (least squares), because a batch that ends just outside the window would
// weigh too much in a plain count. It differs from the count by at most `slack` answers: so many can be under way.
func throughput(times []time.Duration, seconds float64, slack int) float64 {
	count := float64(len(times))
	plain := count / seconds
	if slack == 0 || len(times) < 2 {
		return plain
	}
	var sum, products, squares float64
	middle := times[len(times)/2]
	for index, at := range times {
		x, y := (at - middle).Seconds(), float64(index)-(count-1)/2
		sum += x
		products += x * y
		squares += x * x
	}
	spread := squares - sum*sum/count
	if spread <= 0 {
		return plain
	}
	margin := float64(slack) / seconds
	return min(max(products/spread, plain-margin), plain+margin)
}

// percentile is the nearest rank of ascending values.
func percentile(ascending []time.Duration, percent int) time.Duration {
	rank := (len(ascending)*percent + 99) / 100
	return ascending[max(rank, 1)-1]
}

func milliseconds(duration time.Duration) float64 {
	return float64(duration) / float64(time.Millisecond)
}
