// Command conformance is a KMS client that is not ours: it talks to a plugin with grpc-go and the published Go stubs, dialled as
// kube-apiserver dials, with kube-apiserver's own client packages, and with hand-made HTTP/2 frames. It starts, kills and
// restarts the plugin by itself and tries the edge cases that Kubernetes' own tests and the failures of other plugins suggest.
//
// Each sentence that was tried is one JSON line on stdout, a summary is the last. Exit 0: all hold; 1: some do not; 2: usage.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

const (
	// itemDeadline bounds one item; the slowest waits for two reconnect back-offs of grpc-go.
	itemDeadline = 40 * time.Second
	// totalDeadline bounds the run, so that a plugin which hangs fails it instead of stopping it.
	totalDeadline = 4 * time.Minute
)

type line struct {
	Item   string `json:"item"`
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
}

type summary struct {
	Summary bool `json:"summary"`
	Passed  int  `json:"passed"`
	Failed  int  `json:"failed"`
}

func main() {
	binary := flag.String("keywright", "", "the plugin's `binary`")
	work := flag.String("work", "", "an empty private `folder` for keyrings and sockets; short, since socket paths end at 107 bytes")
	fixture := flag.String("fixture", "", "a development keyring `file` with a primary version 2 and a retired version 1")
	flag.Parse()
	b, err := newBed(*binary, *work, *fixture)
	if err != nil || flag.NArg() != 0 {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		flag.Usage()
		os.Exit(2)
	}
	os.Exit(run(b))
}

func run(b *bed) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, totalDeadline)
	defer cancel()
	defer b.killAll()

	out := json.NewEncoder(os.Stdout)
	out.SetEscapeHTML(false)
	total := summary{Summary: true}
	for _, it := range items {
		result := it.run(ctx, b)
		if result.OK {
			total.Passed++
		} else {
			total.Failed++
		}
		if err := out.Encode(result); err != nil {
			fmt.Fprintln(os.Stderr, "conformance:", err)
			return 1
		}
	}
	if err := out.Encode(total); err != nil || total.Failed > 0 {
		return 1
	}
	return 0
}

// newBed checks the command line.
func newBed(binary, work, fixture string) (*bed, error) {
	paths := []*string{&binary, &work, &fixture}
	for _, path := range paths {
		if *path == "" {
			return nil, fmt.Errorf("-keywright, -work and -fixture are all needed")
		}
		absolute, err := filepath.Abs(*path)
		if err != nil {
			return nil, err
		}
		*path = absolute
	}
	entries, err := os.ReadDir(work)
	if err != nil {
		return nil, err
	}
	if len(entries) != 0 {
		return nil, fmt.Errorf("%s is not empty", work)
	}
	// Room for a plugin's folder and the socket's name below the limit of sun_path.
	if len(work) > 70 {
		return nil, fmt.Errorf("%s is too long for socket paths below it", work)
	}
	return &bed{binary: binary, work: work, fixture: fixture}, nil
}
