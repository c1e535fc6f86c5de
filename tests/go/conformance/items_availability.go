package main

import (
	"context"
	"os"
	"os/exec"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	kmsv2 "k8s.io/kms/apis/v2"
)

// awaitFailedDial returns once grpc-go has tried to connect in vain.
func awaitFailedDial(ctx context.Context, c *check, k *client) {
	select {
	case <-k.failedDials:
	case <-ctx.Done():
		c.stopf("no connection attempt failed although no plugin runs")
	}
}

func socketAppearsLate(ctx context.Context, b *bed, c *check) {
	p := b.newDev(c, "late")
	k := dial(c, p.socket, localhost)
	defer k.close()
	short, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	_, err := k.status(short)
	c.wantCode(err, codes.DeadlineExceeded, "", "Status with no plugin until its deadline")

	answers := make(chan error, 1)
	waiting := dial(c, p.socket, localhost)
	defer waiting.close()
	go func() {
		_, err := waiting.status(ctx)
		answers <- err
	}()
	awaitFailedDial(ctx, c, waiting)
	c.must(p.start(ctx), "start")
	defer p.kill()
	c.must(<-answers, "Status that waited for the plugin")
	_, err = k.status(ctx)
	c.must(err, "Status on the connection that had failed before")
}

func killedAndRestarted(ctx context.Context, b *bed, c *check) {
	p := b.newDev(c, "killed")
	c.must(p.start(ctx), "start")
	defer p.kill()
	k := dial(c, p.socket, localhost)
	defer k.close()
	plaintext := seed()
	before, err := k.encrypt(ctx, plaintext)
	c.must(err, "Encrypt")

	p.kill()
	stale, err := os.Lstat(p.socket)
	c.must(err, "the socket file that a killed plugin leaves behind")
	// A call on a connection whose end has not been noticed yet would fail, not wait.
	if !k.conn.WaitForStateChange(ctx, connectivity.Ready) {
		c.stopf("grpc-go does not notice that the plugin is gone")
	}
	type answer struct {
		wrapped *kmsv2.EncryptResponse
		err     error
	}
	answers := make(chan answer, 1)
	// grpc-go does not connect again before there is a call to make.
	go func() {
		wrapped, err := k.encrypt(ctx, plaintext)
		answers <- answer{wrapped, err}
	}()
	awaitFailedDial(ctx, c, k)
	c.must(p.start(ctx), "start over the stale socket")
	after := <-answers
	c.must(after.err, "Encrypt that waited for the restart")
	if after.wrapped.KeyId != before.KeyId {
		c.failf("the key_id was %q and is %q", before.KeyId, after.wrapped.KeyId)
	}
	for what, wrapped := range map[string]*kmsv2.EncryptResponse{"before": before, "after": after.wrapped} {
		opened, err := k.reopen(ctx, wrapped)
		c.must(err, "Decrypt of what was wrapped "+what+" the restart")
		c.wantBytes(opened, plaintext, what+" the restart")
	}
	now, err := os.Lstat(p.socket)
	c.must(err, "the new socket")
	if now.Mode() != stale.Mode() {
		c.failf("the socket had mode %v and has %v", stale.Mode(), now.Mode())
	}
}

// livingSocketIsKept starts a second process on the socket of one that lives.
func livingSocketIsKept(ctx context.Context, b *bed, c *check) {
	p := b.newDev(c, "living")
	c.must(p.start(ctx), "start")
	defer p.kill()
	k := dial(c, p.socket, localhost)
	defer k.close()
	before, err := k.status(ctx)
	c.must(err, "Status")

	bounded, cancel := context.WithTimeout(ctx, startDeadline)
	defer cancel()
	output, err := exec.CommandContext(bounded, b.binary, "serve", "--dev", "--dir", b.private(c, "thief"), "--socket", p.socket).CombinedOutput()
	switch {
	case bounded.Err() != nil:
		c.failf("the second plugin neither served nor ended")
	case err == nil:
		c.failf("the second plugin ended with exit code 0: %s", output)
	default:
		c.notef("the second one: %v", err)
	}
	fresh := dial(c, p.socket, localhost)
	defer fresh.close()
	for what, k := range map[string]*client{"old": k, "new": fresh} {
		after, err := k.status(ctx)
		c.must(err, "Status on the "+what+" connection")
		if after.KeyId != before.KeyId {
			c.failf("the %s connection reaches the second plugin", what)
		}
	}
}
