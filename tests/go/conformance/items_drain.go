package main

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	kmsv2 "k8s.io/kms/apis/v2"
)

// exitDeadline is longer than the plugin's drain limit of 10 s.
const exitDeadline = 15 * time.Second

// endsCleanly waits for the exit code 0 and the two lines that tell of it.
func endsCleanly(ctx context.Context, c *check, p *plugin, from int) {
	ctx, cancel := context.WithTimeout(ctx, exitDeadline)
	defer cancel()
	code, err := p.awaitExit(ctx)
	c.must(err, "exit after SIGTERM")
	if code != 0 {
		c.failf("exit code %d after SIGTERM", code)
	}
	lines := strings.Join(p.log.since(from), "\n") + "\n"
	draining, stopped := strings.Index(lines, " INFO draining"), strings.Index(lines, " INFO stopped")
	if draining < 0 || stopped < draining {
		c.failf("the log does not say draining, then stopped")
	}
}

// drainFinishesHalfSentCall sends a request in two halves, with SIGTERM between them.
func drainFinishesHalfSentCall(ctx context.Context, b *bed, c *check) {
	p := b.newDev(c, "halfsent")
	c.must(p.start(ctx), "start")
	defer p.kill()
	conn := dialRaw(ctx, c, p.socket)
	defer conn.close()
	// A call before, so that the connection is an old one.
	c.must(conn.status(ctx, "localhost").served(), "Status")

	plaintext := seed()
	request, err := proto.Marshal(&kmsv2.EncryptRequest{Plaintext: plaintext, Uid: uid()})
	c.must(err, "message")
	framed := grpcFrame(request)
	stream := conn.open(c, encryptMethod, "localhost")
	c.must(conn.data(stream, false, framed[:len(framed)/2]), "first half")
	// Frames are read in order: once the ping is answered, the plugin has the call.
	c.must(conn.ping(ctx), "ping")

	from := p.log.len()
	c.must(p.terminate(), "SIGTERM")
	_, err = p.awaitLine(ctx, from, func(line string) bool { return strings.Contains(line, " INFO draining") })
	c.must(err, "the line that says draining")
	c.must(conn.data(stream, true, framed[len(framed)/2:]), "second half")
	answer := conn.await(ctx, stream)
	c.must(answer.served(), "the call that was half sent")
	var wrapped kmsv2.EncryptResponse
	c.must(proto.Unmarshal(answer.message, &wrapped), "answer")
	if len(wrapped.Ciphertext) != 104 || wrapped.KeyId == "" {
		c.failf("the call that was half sent: ciphertext of %d bytes, key_id %q", len(wrapped.Ciphertext), wrapped.KeyId)
	}
	began := time.Now()
	endsCleanly(ctx, c, p, from)
	c.notef("gone %s after the last answer", time.Since(began).Round(time.Millisecond))

	// What it answered on its way out is as good as any other answer.
	c.must(p.start(ctx), "start again")
	k := dial(c, p.socket, localhost)
	defer k.close()
	opened, err := k.reopen(ctx, &wrapped)
	c.must(err, "Decrypt of the answer after a restart")
	c.wantBytes(opened, plaintext, "the answer after a restart")
}

// drainUnderLoad has 20 callers on 3 connections busy while SIGTERM comes.
func drainUnderLoad(ctx context.Context, b *bed, c *check) {
	p := b.newDev(c, "load")
	c.must(p.start(ctx), "start")
	defer p.kill()
	clients := []*client{dial(c, p.socket, localhost), dial(c, p.socket, localhost), dial(c, p.socket, localhost)}
	for _, k := range clients {
		defer k.close()
	}

	// Calls that find no plugin any more would wait for one: they are called off once it is gone.
	calls, callOff := context.WithCancel(ctx)
	defer callOff()
	warm := make(chan struct{})
	var answered, unavailable atomic.Int64
	var all sync.WaitGroup
	for i := range 20 {
		k := clients[i%len(clients)]
		all.Go(func() {
			for {
				err := pair(calls, c, k)
				switch code := status.Code(err); {
				case code == codes.OK:
					if answered.Add(1) == 200 {
						close(warm)
					}
				case code == codes.Unavailable:
					unavailable.Add(1)
					return
				case code == codes.Canceled && calls.Err() != nil:
					return
				default:
					c.failf("a call during the drain: %v", err)
					return
				}
			}
		})
	}
	select {
	case <-warm:
	case <-ctx.Done():
		c.stopf("the callers did not get going")
	}
	from := p.log.len()
	c.must(p.terminate(), "SIGTERM")
	endsCleanly(ctx, c, p, from)
	callOff()
	all.Wait()
	c.notef("%d pairs answered, %d calls Unavailable", answered.Load(), unavailable.Load())
}
