package main

import (
	"bytes"
	"context"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	kmsv1 "k8s.io/kms/apis/v1beta1"
)

const v1beta1 = "v1beta1"

func v1RoundTrips(ctx context.Context, b *bed, c *check) {
	p := b.legacy(ctx, c)
	for _, sends := range []authority{localhost, socketPath} {
		k := dial(c, p.socket, sends)
		defer k.close()
		answer, err := k.v1.Version(ctx, &kmsv1.VersionRequest{Version: v1beta1})
		c.must(err, "Version")
		if answer.Version != v1beta1 {
			c.failf("Version answers %q", answer.Version)
		}
		c.notef("runtime %q %q", answer.RuntimeName, answer.RuntimeVersion)
		for _, plaintext := range [][]byte{[]byte("ping"), seed(), {0}, make([]byte, maxPlaintext)} {
			what := fmt.Sprintf("%d bytes", len(plaintext))
			wrapped, err := k.v1.Encrypt(ctx, &kmsv1.EncryptRequest{Version: v1beta1, Plain: plaintext})
			c.must(err, "Encrypt of "+what)
			if size := len(wrapped.Cipher); size == 0 || size > maxCiphertext {
				c.failf("%s make a cipher of %d", what, size)
			}
			opened, err := k.v1.Decrypt(ctx, &kmsv1.DecryptRequest{Version: v1beta1, Cipher: wrapped.Cipher})
			c.must(err, "Decrypt of "+what)
			c.wantBytes(opened.Plain, plaintext, what)
		}
		for _, size := range []int{0, maxPlaintext + 1} {
			_, err := k.v1.Encrypt(ctx, &kmsv1.EncryptRequest{Version: v1beta1, Plain: make([]byte, size)})
			c.wantCode(err, codes.InvalidArgument, badPlaintext, fmt.Sprintf("Encrypt of %d bytes", size))
		}
		// v2 is served beside it.
		c.must(pair(ctx, c, k), "v2 on the same connection")
	}
}

func v1VersionField(ctx context.Context, b *bed, c *check) {
	k := dial(c, b.legacy(ctx, c).socket, localhost)
	defer k.close()
	wrapped, err := k.v1.Encrypt(ctx, &kmsv1.EncryptRequest{Version: v1beta1, Plain: seed()})
	c.must(err, "Encrypt")
	for _, version := range []string{"", "v1", "v2", "V1beta1", "v1beta1 ", "v1beta10"} {
		_, err := k.v1.Encrypt(ctx, &kmsv1.EncryptRequest{Version: version, Plain: seed()})
		c.wantCode(err, codes.InvalidArgument, badVersion, fmt.Sprintf("Encrypt with version %q", version))
		_, err = k.v1.Decrypt(ctx, &kmsv1.DecryptRequest{Version: version, Cipher: wrapped.Cipher})
		c.wantCode(err, codes.InvalidArgument, badVersion, fmt.Sprintf("Decrypt with version %q", version))
	}
	// Whoever asks for another version may be told which one there is; both answers are honest.
	_, err = k.v1.Version(ctx, &kmsv1.VersionRequest{Version: "v2"})
	c.notef("Version with version v2: %v", status.Code(err))
	if code := status.Code(err); code != codes.OK && code != codes.InvalidArgument {
		c.failf("Version with version v2: %v", err)
	}
}

func v1WrongCiphertexts(ctx context.Context, b *bed, c *check) {
	k := dial(c, b.legacy(ctx, c).socket, localhost)
	defer k.close()
	refuse := func(cipher []byte, what string, allowed ...codes.Code) {
		answer, err := k.v1.Decrypt(ctx, &kmsv1.DecryptRequest{Version: v1beta1, Cipher: cipher})
		if err == nil {
			c.failf("%s: answered with a plaintext of %d bytes", what, len(answer.Plain))
			return
		}
		for _, code := range allowed {
			if status.Code(err) == code {
				return
			}
		}
		c.failf("%s: %v instead of %v", what, err, allowed)
	}
	plaintext := seed()
	wrapped, err := k.v1.Encrypt(ctx, &kmsv1.EncryptRequest{Version: v1beta1, Plain: plaintext})
	c.must(err, "Encrypt")
	for at := range wrapped.Cipher {
		for _, pattern := range patterns {
			flipped := bytes.Clone(wrapped.Cipher)
			flipped[at] ^= pattern
			what := fmt.Sprintf("byte %d ^ %#02x", at, pattern)
			// Bytes 4 to 31 name the key: a changed one names a key that is not there, or none at all.
			if at >= 4 && at < 32 {
				refuse(flipped, what, codes.NotFound, codes.DataLoss)
			} else {
				refuse(flipped, what, codes.DataLoss)
			}
		}
		refuse(wrapped.Cipher[:max(at, 1)], fmt.Sprintf("the first %d bytes", max(at, 1)), codes.DataLoss)
	}
	refuse(nil, "an empty cipher", codes.InvalidArgument)
	refuse(make([]byte, maxCiphertext+1), "1025 bytes", codes.InvalidArgument)

	// What v2 wrapped is not v1's, nor the other way round, even under the same key.
	v2Wrapped, err := k.encrypt(ctx, plaintext)
	c.must(err, "v2 Encrypt")
	refuse(v2Wrapped.Ciphertext, "what v2 wrapped", codes.DataLoss)
	refused(ctx, c, k, wrapped.Cipher, v2Wrapped.KeyId, codes.DataLoss, doesNotOpen, "v2 Decrypt of what v1 wrapped")

	stranger := dial(c, b.other(ctx, c).socket, localhost)
	defer stranger.close()
	theirs, err := stranger.encrypt(ctx, plaintext)
	c.must(err, "Encrypt of the other plugin")
	refuse(theirs.Ciphertext, "another keyring's envelope", codes.NotFound)
	answer, err := k.v1.Decrypt(ctx, &kmsv1.DecryptRequest{Version: v1beta1, Cipher: wrapped.Cipher})
	c.must(err, "Decrypt as issued")
	c.wantBytes(answer.Plain, plaintext, "as issued")
}
