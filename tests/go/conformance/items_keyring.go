package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"google.golang.org/grpc/codes"
)

// newOn prepares a plugin on a keyring that this program made.
func (b *bed) newOn(c *check, name string, k *keyring) *plugin {
	text, err := k.text()
	c.must(err, "keyring")
	return b.newDevOn(c, name, text)
}

// versionsAreNotMixed has one plugin with two key versions. Each ciphertext names its version, so a request that names the other
// contradicts itself.
func versionsAreNotMixed(ctx context.Context, b *bed, c *check) {
	text, err := os.ReadFile(b.fixture)
	c.must(err, "fixture")
	ring, err := parseKeyring(string(text))
	c.must(err, "fixture")
	if len(ring.versions) != 2 || ring.versions[0].state != "retired" || ring.versions[1].state != "primary" {
		c.stopf("the fixture is not a retired version 1 and a primary version 2")
	}
	retired, primary := ring.versions[0], ring.versions[1]
	p := b.newDevOn(c, "fixture", string(text))
	c.must(p.start(ctx), "start on the fixture")
	defer p.kill()
	k := dial(c, p.socket, localhost)
	defer k.close()

	plaintext := seed()
	wrapped, err := k.encrypt(ctx, plaintext)
	c.must(err, "Encrypt")
	if wrapped.KeyId != primary.keyID {
		c.failf("Encrypt names %q instead of the primary %q", wrapped.KeyId, primary.keyID)
	}
	older, err := retired.wrap("kms-v2", plaintext)
	c.must(err, "wrap under the retired version")

	opened, err := k.decrypt(ctx, older, retired.keyID)
	c.must(err, "Decrypt of what the retired version wrapped")
	c.wantBytes(opened, plaintext, "what the retired version wrapped")
	opened, err = primary.unwrap("kms-v2", wrapped.Ciphertext)
	c.must(err, "opening the plugin's envelope by the published format")
	c.wantBytes(opened, plaintext, "the plugin's envelope by the published format")

	refused(ctx, c, k, wrapped.Ciphertext, retired.keyID, codes.DataLoss, doesNotOpen, "the primary's ciphertext under the retired key_id")
	refused(ctx, c, k, older, primary.keyID, codes.DataLoss, doesNotOpen, "the retired version's ciphertext under the primary's key_id")
	relabelled := append(append([]byte{}, retired.header...), wrapped.Ciphertext[len(retired.header):]...)
	refused(ctx, c, k, relabelled, retired.keyID, codes.DataLoss, doesNotOpen, "the primary's ciphertext relabelled as the retired version's")
	refused(ctx, c, k, relabelled, primary.keyID, codes.DataLoss, doesNotOpen, "the relabelled ciphertext under the primary's key_id")
	forV1, err := primary.wrap("kms-v1", plaintext)
	c.must(err, "wrap for v1")
	refused(ctx, c, k, forV1, primary.keyID, codes.DataLoss, doesNotOpen, "what was wrapped for v1")
	for _, number := range []string{"0", "3", "4294967295"} {
		unknown := strings.Replace(primary.keyID, ".2.", "."+number+".", 1)
		refused(ctx, c, k, wrapped.Ciphertext, unknown, codes.NotFound, notOurs, "version "+number+", which is not there")
	}
}

// statesAreTold asks for versions in every state of one keyring.
func statesAreTold(ctx context.Context, b *bed, c *check) {
	ring, err := newKeyring("destroyed", "disabled", "retired", "primary", "staged")
	c.must(err, "keyring")
	p := b.newOn(c, "states", ring)
	c.must(p.start(ctx), "start on a keyring with every state")
	defer p.kill()
	k := dial(c, p.socket, localhost)
	defer k.close()
	for _, v := range ring.versions {
		plaintext := seed()
		wrapped, err := v.wrap("kms-v2", plaintext)
		c.must(err, "wrap")
		switch v.state {
		case "disabled":
			refused(ctx, c, k, wrapped, v.keyID, codes.FailedPrecondition, "key version is disabled", v.state)
		case "destroyed":
			refused(ctx, c, k, wrapped, v.keyID, codes.FailedPrecondition, "key version is destroyed", v.state)
		default:
			opened, err := k.decrypt(ctx, wrapped, v.keyID)
			c.must(err, "Decrypt under a "+v.state+" version")
			c.wantBytes(opened, plaintext, v.state)
		}
	}
	answer, err := k.status(ctx)
	c.must(err, "Status")
	if answer.Healthz != "ok" || answer.KeyId != ring.versions[3].keyID {
		c.failf("Status says %q and %q", answer.Healthz, answer.KeyId)
	}
	for range 20 {
		c.must(pair(ctx, c, k), "new data")
	}
}

// notReadyYet needs a keyring that takes a while to open: it is as long as the file may be.
func notReadyYet(ctx context.Context, b *bed, c *check) {
	states := make([]string, 14_000)
	for i := range states {
		states[i] = "retired"
	}
	states[len(states)-1] = "primary"
	ring, err := newKeyring(states...)
	c.must(err, "keyring")
	p := b.newOn(c, "long", ring)
	c.must(p.launch(), "start")
	defer p.kill()
	_, err = p.awaitLine(ctx, 0, func(line string) bool { return strings.Contains(line, " INFO listening ") })
	c.must(err, "the line that says listening")
	k := dial(c, p.socket, localhost)
	defer k.close()
	_, err = k.status(ctx)
	c.wantCode(err, codes.Unavailable, notReady, "Status before the keyring is open")
	_, err = k.encrypt(ctx, seed())
	c.wantCode(err, codes.Unavailable, notReady, "Encrypt before the keyring is open")
	refused(ctx, c, k, make([]byte, 104), ring.versions[0].keyID, codes.Unavailable, notReady, "Decrypt before the keyring is open")

	_, err = p.awaitLine(ctx, 0, saysReady)
	c.must(err, fmt.Sprintf("the line that says ready, with %d versions", len(states)))
	plaintext := seed()
	for _, v := range []keyVersion{ring.versions[0], ring.versions[len(states)/2], ring.versions[len(states)-1]} {
		wrapped, err := v.wrap("kms-v2", plaintext)
		c.must(err, "wrap")
		opened, err := k.decrypt(ctx, wrapped, v.keyID)
		c.must(err, "Decrypt on the same connection once ready")
		c.wantBytes(opened, plaintext, v.keyID)
	}
}
