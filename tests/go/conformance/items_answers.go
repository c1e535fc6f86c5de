package main

import (
	"bytes"
	"context"
	"fmt"
	"regexp"
	"strings"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	kmsv2 "k8s.io/kms/apis/v2"
)

// The limits of KMS v2, and what the plugin makes of them for plaintexts: header, nonce and tag take 72 of the 1024 bytes.
const (
	maxCiphertext  = 1024
	maxKeyID       = 1024
	maxAnnotations = 32768
	maxPlaintext   = 952
)

var keyIDShape = regexp.MustCompile(`^kw1\.[0-9a-f]{16}\.[1-9][0-9]{0,9}\.[0-9a-f]{32}$`)

func statusRepeatsItself(ctx context.Context, b *bed, c *check) {
	k := b.connect(ctx, c)
	defer k.close()
	first, err := k.status(ctx)
	c.must(err, "Status")
	if first.Version != "v2" || first.Healthz != "ok" {
		c.failf("version %q healthz %q", first.Version, first.Healthz)
	}
	if !keyIDShape.MatchString(first.KeyId) || len(first.KeyId) > 64 {
		c.failf("key_id %q", first.KeyId)
	}
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			again, err := k.status(ctx)
			if err != nil || !proto.Equal(first, again) {
				c.failf("another Status: %v %v", again, err)
			}
		})
	}
	all.Wait()
	wrapped, err := k.encrypt(ctx, seed())
	c.must(err, "Encrypt")
	if wrapped.KeyId != first.KeyId {
		c.failf("Encrypt names %q, Status %q", wrapped.KeyId, first.KeyId)
	}
}

func healthzIsExactlyOK(ctx context.Context, b *bed, c *check) {
	k := b.connect(ctx, c)
	defer k.close()
	for range 10 {
		answer, err := k.status(ctx)
		c.must(err, "Status")
		if answer.Healthz != "ok" {
			c.failf("healthz is %q", answer.Healthz)
		}
		// A field that the stubs do not know would reach no log of theirs, but has no business here.
		if unknown := answer.ProtoReflect().GetUnknown(); len(unknown) != 0 {
			c.failf("Status carries %d bytes of unknown fields", len(unknown))
		}
	}
}

func ciphertextsAreWithinTheLimit(ctx context.Context, b *bed, c *check) {
	k := b.connect(ctx, c)
	defer k.close()
	for _, size := range []int{1, 4, 16, 32, 64, 512, maxPlaintext} {
		wrapped, err := k.encrypt(ctx, make([]byte, size))
		c.must(err, fmt.Sprintf("Encrypt of %d bytes", size))
		if got := len(wrapped.Ciphertext); got == 0 || got > maxCiphertext {
			c.failf("%d bytes make a ciphertext of %d", size, got)
		}
		if size == 32 && len(wrapped.Ciphertext) != 104 {
			c.failf("a seed makes an envelope of %d bytes instead of 104", len(wrapped.Ciphertext))
		}
	}
}

func answeredAnnotationsAreValid(ctx context.Context, b *bed, c *check) {
	k := b.connect(ctx, c)
	defer k.close()
	wrapped, err := k.encrypt(ctx, seed())
	c.must(err, "Encrypt")
	total := 0
	for key, value := range wrapped.Annotations {
		total += len(key) + len(value)
		if errs := validation.IsFullyQualifiedDomainName(field.NewPath("annotations"), key); errs != nil {
			c.failf("annotation key %q: %v", key, errs.ToAggregate())
		}
	}
	if total > maxAnnotations {
		c.failf("annotations of %d bytes", total)
	}
	c.notef("%d annotations", len(wrapped.Annotations))
}

// decryptWith sends an answer of Encrypt back with these annotations.
func decryptWith(ctx context.Context, k *client, wrapped *kmsv2.EncryptResponse, annotations map[string][]byte) error {
	_, err := k.v2.Decrypt(ctx, &kmsv2.DecryptRequest{
		Ciphertext: wrapped.Ciphertext, KeyId: wrapped.KeyId, Uid: uid(), Annotations: annotations,
	})
	return err
}

func annotationKeysAreChecked(ctx context.Context, b *bed, c *check) {
	k := b.connect(ctx, c)
	defer k.close()
	wrapped, err := k.encrypt(ctx, seed())
	c.must(err, "Encrypt")
	label := strings.Repeat("a", 63)
	longest := strings.Join([]string{label, label, label, strings.Repeat("b", 61)}, ".")
	keys := []string{
		"a.com", "k8s.io", "dev.k8s.io.", "10.0.0.1", "a-b.c-d", label + ".io", "0.0", longest, longest + ".",
		"", "com", ".", "..", "...", ".io", "io.", "a..b", "a.b..", "Dev.k8s.io", "dev.K8S.io", "*.example.com", "foo_bar.k8s.io", "foo@bar.example.com",
		"http://foo.example.com", "kms.example.com/name", "a b.com", "-a.com", "a-.com", "a.-com", label + "a.io", "io." + label + "a", longest + "c",
		strings.Repeat("a.", 127) + "ab", "a.com\n", "a.com\x00", "é.com", "a.com:80",
	}
	for _, key := range keys {
		// The API server's own function decides what is right; nothing was issued, so what is right does not open either.
		want, message := codes.DataLoss, doesNotOpen
		if validation.IsFullyQualifiedDomainName(field.NewPath("annotations"), key) != nil {
			want, message = codes.InvalidArgument, badAnnotations
		}
		c.wantCode(decryptWith(ctx, k, wrapped, map[string][]byte{key: []byte("v")}), want, message, fmt.Sprintf("key %q", key))
		mixed := map[string][]byte{"good.example.com": nil, key: nil}
		c.wantCode(decryptWith(ctx, k, wrapped, mixed), want, message, fmt.Sprintf("key %q beside a good one", key))
	}
}

func annotationsTotalIsChecked(ctx context.Context, b *bed, c *check) {
	k := b.connect(ctx, c)
	defer k.close()
	wrapped, err := k.encrypt(ctx, seed())
	c.must(err, "Encrypt")
	const key = "a.example.com"
	filled := func(total int) map[string][]byte { return map[string][]byte{key: make([]byte, total-len(key))} }
	spread := func(total int) map[string][]byte {
		annotations := map[string][]byte{}
		for i := range 64 {
			name := fmt.Sprintf("k%02d.example.com", i)
			annotations[name] = make([]byte, 100)
			total -= len(name) + 100
		}
		annotations[key] = make([]byte, total-len(key))
		return annotations
	}
	for name, annotations := range map[string]func(int) map[string][]byte{"one annotation": filled, "65 annotations": spread} {
		c.wantCode(decryptWith(ctx, k, wrapped, annotations(maxAnnotations)), codes.DataLoss, doesNotOpen, name+" of 32768 bytes")
		c.wantCode(decryptWith(ctx, k, wrapped, annotations(maxAnnotations+1)), codes.InvalidArgument, badAnnotations, name+" of 32769 bytes")
	}
}

func answersNeverRepeat(ctx context.Context, b *bed, c *check) {
	k := b.connect(ctx, c)
	defer k.close()
	same, seen := seed(), map[string]bool{}
	for i := range 200 {
		plaintext := same
		if i%2 == 1 {
			plaintext = seed()
		}
		wrapped, err := k.encrypt(ctx, plaintext)
		c.must(err, "Encrypt")
		if seen[string(wrapped.Ciphertext)] {
			c.failf("answer %d is an earlier one", i)
		}
		seen[string(wrapped.Ciphertext)] = true
		if bytes.Contains(wrapped.Ciphertext, plaintext) {
			c.failf("answer %d contains its plaintext", i)
		}
		opened, err := k.reopen(ctx, wrapped)
		c.must(err, "Decrypt")
		c.wantBytes(opened, plaintext, fmt.Sprintf("answer %d", i))
	}
}

func seedsRoundTrip(ctx context.Context, b *bed, c *check) {
	k := b.connect(ctx, c)
	defer k.close()
	zeros, ones := make([]byte, 32), bytes.Repeat([]byte{0xff}, 32)
	for i := range 200 {
		plaintext := seed()
		switch i {
		case 0:
			plaintext = zeros
		case 1:
			plaintext = ones
		}
		wrapped, err := k.encrypt(ctx, plaintext)
		c.must(err, "Encrypt")
		for range 2 {
			opened, err := k.reopen(ctx, wrapped)
			c.must(err, "Decrypt")
			c.wantBytes(opened, plaintext, fmt.Sprintf("seed %d", i))
		}
	}
}

func plaintextSizes(ctx context.Context, b *bed, c *check) {
	k := b.connect(ctx, c)
	defer k.close()
	plaintexts := [][]byte{{0}, []byte("ping"), bytes.Repeat([]byte{7}, 16), bytes.Repeat([]byte{7}, 64), bytes.Repeat([]byte{7}, maxPlaintext-1), bytes.Repeat([]byte{7}, maxPlaintext)}
	for _, plaintext := range plaintexts {
		what := fmt.Sprintf("%d bytes", len(plaintext))
		wrapped, err := k.encrypt(ctx, plaintext)
		if err != nil {
			c.failf("Encrypt of %s: %v", what, err)
			continue
		}
		opened, err := k.reopen(ctx, wrapped)
		c.must(err, "Decrypt of "+what)
		c.wantBytes(opened, plaintext, what)
	}
	for _, size := range []int{0, maxPlaintext + 1, 1024, 4096, 60_000} {
		_, err := k.encrypt(ctx, make([]byte, size))
		c.wantCode(err, codes.InvalidArgument, badPlaintext, fmt.Sprintf("Encrypt of %d bytes", size))
	}
}
