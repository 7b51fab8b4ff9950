package main

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"time"
)

// Plan is what one run does; the harness writes it as JSON.
type Plan struct {
	Address        string    `json:"address"`     // IP:port of loopback
	Connections    int       `json:"connections"` // open at the same time
	Arrivals       string    `json:"arrivals"`    // closed, paced, poisson or bursty
	Rate           float64   `json:"rate"`        // requests per second; not for closed
	Seed           uint64    `json:"seed"`
	WarmupSeconds  float64   `json:"warmup_seconds"`
	Seconds        float64   `json:"seconds"`
	MaxRequests    int       `json:"max_requests"` // sent, warm-up included
	TimeoutSeconds float64   `json:"timeout_seconds"`
	Requests       []Request `json:"requests"`
	Answer         Answer    `json:"answer"`
	Tolerance      float64   `json:"tolerance"` // relative, and absolute near zero

	bodies [][]byte
}

// Request is one prebuilt HTTP request, headers included, and the numbers that answer it.
type Request struct {
	File     string    `json:"file"`
	Expected []float64 `json:"expected"`
}

// Answer says where the numbers of an answer are.
type Answer struct {
	Kind string `json:"kind"` // json: behind Key, from the start without one; binary: float32 behind the JSON part
	Key  string `json:"key"`
}

const (
	closed = "closed"

	maxConnections = 4096
	maxSeconds     = 3600
	maxRequests    = 20_000_000
)

func readPlan(path string) (*Plan, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	plan := &Plan{}
	if err := json.Unmarshal(text, plan); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for _, request := range plan.Requests {
		body, err := os.ReadFile(request.File)
		if err != nil {
			return nil, err
		}
		plan.bodies = append(plan.bodies, body)
	}
	return plan, plan.check()
}

// check refuses what would load another machine or never end.
func (plan *Plan) check() error {
	address, err := netip.ParseAddrPort(plan.Address)
	switch {
	case err != nil:
		return fmt.Errorf("address %q: expected IP:port: %w", plan.Address, err)
	case !address.Addr().IsLoopback() || !address.Addr().Is4():
		return fmt.Errorf("address %q: expected one of 127.0.0.0/8, because load goes to this machine alone", plan.Address)
	case plan.Connections < 1 || plan.Connections > maxConnections:
		return fmt.Errorf("connections %d: expected 1 to %d", plan.Connections, maxConnections)
	case plan.Seconds <= 0 || plan.WarmupSeconds < 0 || plan.Seconds+plan.WarmupSeconds > maxSeconds:
		return fmt.Errorf("seconds %g after %g of warm-up: expected more than 0 and at most %d together",
			plan.Seconds, plan.WarmupSeconds, maxSeconds)
	case plan.MaxRequests < 1 || plan.MaxRequests > maxRequests:
		return fmt.Errorf("max_requests %d: expected 1 to %d", plan.MaxRequests, maxRequests)
	case plan.TimeoutSeconds <= 0:
		return fmt.Errorf("timeout_seconds %g: expected more than 0", plan.TimeoutSeconds)
	case len(plan.Requests) == 0:
		return fmt.Errorf("requests: expected at least one")
	case plan.Answer.Kind != "json" && plan.Answer.Kind != "binary":
		return fmt.Errorf("answer.kind %q: expected json or binary", plan.Answer.Kind)
	case plan.Arrivals != closed && plan.Rate <= 0:
		return fmt.Errorf("rate %g: expected more than 0 with arrivals %q", plan.Rate, plan.Arrivals)
	}
	_, err = schedule(plan.Arrivals, plan.Rate, 0, plan.Seed)
	return err
}

func duration(seconds float64) time.Duration {
	return time.Duration(seconds * float64(time.Second))
}
