package main

import (
	"context"
	"slices"
	"sync"
	"time"

	kmsv2 "k8s.io/kms/apis/v2"
)

// pair encrypts a new seed and decrypts the answer. The error is nil when the bytes came back.
func pair(ctx context.Context, c *check, k *client) error {
	plaintext := seed()
	wrapped, err := k.encrypt(ctx, plaintext)
	if err != nil {
		return err
	}
	opened, err := k.reopen(ctx, wrapped)
	if err == nil {
		c.wantBytes(opened, plaintext, "round trip")
	}
	return err
}

func concurrentPairs(ctx context.Context, b *bed, c *check) {
	k := b.connect(ctx, c)
	defer k.close()
	start := make(chan struct{})
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() {
			<-start
			if err := pair(ctx, c, k); err != nil {
				c.failf("pair: %v", err)
			}
		})
	}
	close(start)
	all.Wait()
}

type wrappedSeed struct {
	plaintext []byte
	wrapped   *kmsv2.EncryptResponse
}

func wrapSeeds(ctx context.Context, c *check, k *client, count int) []wrappedSeed {
	seeds := make([]wrappedSeed, count)
	for i := range seeds {
		plaintext := seed()
		wrapped, err := k.encrypt(ctx, plaintext)
		c.must(err, "Encrypt")
		seeds[i] = wrappedSeed{plaintext, wrapped}
	}
	return seeds
}

// decryptAll makes `count` Decrypts over `seeds` with so many in flight, checks every answer and returns the latencies, sorted.
func decryptAll(ctx context.Context, c *check, k *client, seeds []wrappedSeed, count, inFlight int) []time.Duration {
	latencies := make([]time.Duration, count)
	next := make(chan int, count)
	for i := range count {
		next <- i
	}
	close(next)
	var all sync.WaitGroup
	for range inFlight {
		all.Go(func() {
			for i := range next {
				s := seeds[i%len(seeds)]
				began := time.Now()
				opened, err := k.reopen(ctx, s.wrapped)
				latencies[i] = time.Since(began)
				if err != nil {
					c.failf("Decrypt: %v", err)
					continue
				}
				c.wantBytes(opened, s.plaintext, "Decrypt")
			}
		})
	}
	all.Wait()
	slices.Sort(latencies)
	return latencies
}

// burstOfDecrypts is an API server's cold start. A latency is printed, not judged, unless it is absurd: machines differ.
func burstOfDecrypts(ctx context.Context, b *bed, c *check) {
	const count = 2000
	// On ten connections, one after the other: when the plugin stopped reading while its answers were unread, some of them stood still for ever.
	for range 9 {
		k := b.connect(ctx, c)
		decryptAll(ctx, c, k, wrapSeeds(ctx, c, k, 5), count, count)
		k.close()
	}
	k := b.connect(ctx, c)
	defer k.close()
	seeds := wrapSeeds(ctx, c, k, 5)
	atOnce := decryptAll(ctx, c, k, seeds, count, count)
	c.notef("all at once: p99 %s", atOnce[count*99/100])
	hundred := decryptAll(ctx, c, k, seeds, count, 100)
	c.notef("100 in flight: p50 %s, p99 %s", hundred[count/2], hundred[count*99/100])
	if p99 := hundred[count*99/100]; p99 > time.Second {
		c.failf("p99 of %s with 100 in flight", p99)
	}
}

func identicalDecrypts(ctx context.Context, b *bed, c *check) {
	k := b.connect(ctx, c)
	defer k.close()
	seeds := wrapSeeds(ctx, c, k, 1)
	for range 5 {
		decryptAll(ctx, c, k, seeds, 50, 50)
	}
}
