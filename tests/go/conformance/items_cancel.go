package main

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	kmsv2 "k8s.io/kms/apis/v2"
)

// cancelledCalls has the API server's clients hang up: 1200 calls are cancelled somewhere between being sent and being answered.
func cancelledCalls(ctx context.Context, b *bed, c *check) {
	cancelling, steady := b.connect(ctx, c), b.connect(ctx, c)
	defer cancelling.close()
	defer steady.close()
	seeds := wrapSeeds(ctx, c, cancelling, 3)

	stop := make(chan struct{})
	var meanwhile sync.WaitGroup
	meanwhile.Go(func() {
		for calls := 0; ; calls++ {
			select {
			case <-stop:
				c.notef("%d pairs on another connection meanwhile", calls)
				return
			default:
			}
			if err := pair(ctx, c, steady); err != nil {
				c.failf("a call on another connection meanwhile: %v", err)
				return
			}
		}
	})

	var mu sync.Mutex
	outcomes := map[codes.Code]int{}
	for range 6 {
		var all sync.WaitGroup
		for i := range 200 {
			all.Go(func() {
				call, cancel := context.WithTimeout(ctx, time.Duration(rand.IntN(6000))*time.Microsecond)
				defer cancel()
				var err error
				if i%2 == 0 {
					_, err = cancelling.encrypt(call, seed())
				} else {
					s := seeds[i%len(seeds)]
					var opened []byte
					if opened, err = cancelling.reopen(call, s.wrapped); err == nil {
						c.wantBytes(opened, s.plaintext, "a call that was not cut off in time")
					}
				}
				mu.Lock()
				defer mu.Unlock()
				code := status.Code(err)
				outcomes[code]++
				// A call that ends in another way before its time has suffered from those that were cut off.
				if code != codes.OK && code != codes.DeadlineExceeded && outcomes[code] == 1 {
					c.failf("a call on the same connection: %v", err)
				}
			})
		}
		all.Wait()
	}
	close(stop)
	meanwhile.Wait()
	c.notef("outcomes %v", outcomes)
	if outcomes[codes.DeadlineExceeded] == 0 {
		c.failf("no call was cut off: nothing was tried")
	}
	for _, k := range []*client{cancelling, steady} {
		for range 20 {
			c.must(pair(ctx, c, k), "a call afterwards")
		}
	}
}

// cancelledInOneBreath has so many calls cancelled before the plugin reads the first of them. An HTTP/2 library that takes that for
// an attack closes the connection, and with it every other call of the API server.
func cancelledInOneBreath(ctx context.Context, b *bed, c *check) {
	const count = 200
	request, err := proto.Marshal(&kmsv2.EncryptRequest{Plaintext: seed(), Uid: uid()})
	c.must(err, "message")
	for _, p := range []*plugin{b.plain(ctx, c), b.legacy(ctx, c)} {
		conn := dialRaw(ctx, c, p.socket)
		defer conn.close()
		for range 5 {
			c.must(conn.cancelled(count, headers(encryptMethod, "localhost").bytes, grpcFrame(request)), "calls and their cancellations")
			c.must(conn.status(ctx, "localhost").healthy(), "Status on the same connection behind 200 cancelled calls")
		}
	}
}
