package main

import (
	"bytes"
	"context"
	"time"

	"k8s.io/apiserver/pkg/storage/value"
	"k8s.io/apiserver/pkg/storage/value/encrypt/envelope"
	"k8s.io/apiserver/pkg/storage/value/encrypt/envelope/kmsv2"
)

// callTimeout is the API server's default.
const callTimeout = 3 * time.Second

// apiServerClientV2 does by the API server's own code what the API server does: it wraps a seed, stores an object under it, and
// reads it back with an empty cache, as after a restart.
func apiServerClientV2(ctx context.Context, b *bed, c *check) {
	socket := b.plain(ctx, c).socket
	service, err := kmsv2.NewGRPCService(ctx, "unix://"+socket, "conformance", callTimeout)
	c.must(err, "NewGRPCService")
	answer, err := service.Status(ctx)
	c.must(err, "Status")
	if answer.Version != "v2" || answer.Healthz != "ok" {
		c.failf("version %q healthz %q", answer.Version, answer.Healthz)
	}
	if _, err := kmsv2.ValidateKeyID(answer.KeyID); err != nil {
		c.failf("key_id: %v", err)
	}

	object, at := []byte(`{"kind":"Secret"}`), value.DefaultContext("/registry/secrets/default/one")
	for _, useSeed := range []bool{true, false} {
		// This calls Encrypt and applies every check of the API server to the answer.
		transformer, encrypted, cacheKey, err := kmsv2.GenerateTransformer(ctx, uid(), service, useSeed)
		c.must(err, "GenerateTransformer")
		if encrypted.KeyID != answer.KeyID {
			c.failf("Encrypt names %q, Status %q", encrypted.KeyID, answer.KeyID)
		}
		state := func() (kmsv2.State, error) {
			return kmsv2.State{
				Transformer:                           transformer,
				EncryptedObjectKeyID:                  encrypted.KeyID,
				EncryptedObjectEncryptedDEKSource:     encrypted.EncryptedDEKSource,
				EncryptedObjectAnnotations:            encrypted.Annotations,
				EncryptedObjectEncryptedDEKSourceType: encrypted.EncryptedDEKSourceType,
				UID:                                   uid(),
				ExpirationTimestamp:                   time.Now().Add(time.Minute),
				CacheKey:                              cacheKey,
				KMSProviderName:                       "conformance",
			}, nil
		}
		writer := kmsv2.NewEnvelopeTransformer(service, "conformance", state, "writer")
		reader := kmsv2.NewEnvelopeTransformer(service, "conformance", state, "reader")
		stored, err := writer.TransformToStorage(ctx, object, at)
		c.must(err, "TransformToStorage")
		read, stale, err := reader.TransformFromStorage(ctx, stored, at)
		c.must(err, "TransformFromStorage")
		if !bytes.Equal(read, object) || stale {
			c.failf("read back %d bytes, stale %t", len(read), stale)
		}
	}
}

// apiServerClientV1 uses the API server's client of KMS v1, which sends the socket path as :authority to this day.
func apiServerClientV1(ctx context.Context, b *bed, c *check) {
	socket := b.legacy(ctx, c).socket
	service, err := envelope.NewGRPCService(ctx, "unix://"+socket, callTimeout)
	c.must(err, "NewGRPCService")
	for _, plaintext := range [][]byte{[]byte("ping"), seed()} {
		wrapped, err := service.Encrypt(plaintext)
		c.must(err, "Encrypt")
		opened, err := service.Decrypt(wrapped)
		c.must(err, "Decrypt")
		c.wantBytes(opened, plaintext, "round trip")
	}
}
