package main

import (
	"bytes"
	"context"
	"fmt"
	"runtime/debug"
	"strings"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// item is one sentence that must hold.
type item struct {
	number string
	name   string
	try    func(context.Context, *bed, *check)
}

// check collects what an item found. All methods may be called from several goroutines, but stopf and must end only the
// item's own.
type check struct {
	mu       sync.Mutex
	failures []string
	dropped  int
	notes    []string
}

// maxFailures keeps the line of an item whose every case fails readable.
const maxFailures = 6

// stopped ends an item early; its failure is already noted.
type stopped struct{}

func (c *check) failf(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.failures) == maxFailures {
		c.dropped++
		return
	}
	c.failures = append(c.failures, fmt.Sprintf(format, args...))
}

// notef adds information to the detail of the line; it never fails the item.
func (c *check) notef(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.notes = append(c.notes, fmt.Sprintf(format, args...))
}

// stopf fails the item and ends it: what follows would be meaningless.
func (c *check) stopf(format string, args ...any) {
	c.failf(format, args...)
	panic(stopped{})
}

// must ends the item when `err` is not nil.
func (c *check) must(err error, what string) {
	if err != nil {
		c.stopf("%s: %v", what, err)
	}
}

// wantCode fails the item unless `err` has the gRPC code and, where given, the exact message.
func (c *check) wantCode(err error, code codes.Code, message, what string) {
	got := status.Convert(err)
	if got.Code() != code {
		c.failf("%s: %v %q instead of %v", what, got.Code(), got.Message(), code)
	} else if message != "" && got.Message() != message {
		c.failf("%s: %v with %q instead of %q", what, code, got.Message(), message)
	}
}

// wantBytes fails the item unless `got` is `want`. It prints lengths only: real plaintexts have no place in a report.
func (c *check) wantBytes(got, want []byte, what string) {
	if !bytes.Equal(got, want) {
		c.failf("%s: other bytes (%d instead of %d)", what, len(got), len(want))
	}
}

func (c *check) result(it item) line {
	c.mu.Lock()
	defer c.mu.Unlock()
	parts := append([]string{}, c.failures...)
	if c.dropped > 0 {
		parts = append(parts, fmt.Sprintf("and %d more", c.dropped))
	}
	parts = append(parts, c.notes...)
	return line{Item: it.number, Name: it.name, OK: len(c.failures) == 0, Detail: strings.Join(parts, "; ")}
}

// run tries the item, bounded in time. A panic fails it and nothing else.
func (it item) run(ctx context.Context, b *bed) line {
	c := &check{}
	ctx, cancel := context.WithTimeout(ctx, itemDeadline)
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			switch cause := recover().(type) {
			case nil, stopped:
			default:
				c.failf("panic: %v at %s", cause, debug.Stack())
			}
		}()
		it.try(ctx, b, c)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		c.failf("not finished after %s", itemDeadline)
	}
	b.checkStillThere(c)
	return c.result(it)
}
