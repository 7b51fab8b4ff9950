// Command loadgen sends prebuilt requests to a server on loopback, checks every answer and prints what it saw as JSON.
//
//	loadgen -plan PLAN.json    one run; the plan is described in plan.go
//	loadgen -serve             a trivial server, which prints its address; to learn what the generator itself can do
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
)

func main() {
	path := flag.String("plan", "", "the run to make, a JSON file")
	serve := flag.Bool("serve", false, "be a trivial server instead")
	flag.Parse()
	runtime.LockOSThread()
	debug.SetGCPercent(400)
	if err := act(*path, *serve); err != nil {
		fmt.Fprintf(os.Stderr, "loadgen: %v\n", err)
		os.Exit(1)
	}
}

func act(path string, serve bool) error {
	if serve {
		return serveTrivially()
	}
	if path == "" {
		return fmt.Errorf("expected -plan FILE or -serve")
	}
	plan, err := readPlan(path)
	if err != nil {
		return err
	}
	report, err := execute(plan)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(report)
}
