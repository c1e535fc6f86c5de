package main

import (
	"math/rand/v2"

	"google.golang.org/protobuf/proto"
	kmstypes "k8s.io/apiserver/pkg/storage/value/encrypt/envelope/kmsv2/v2"
)

const (
	prefix = "k8s:enc:kms:v2:keywright:"
	keyID  = "kw1.0123456789abcdef.1.00112233445566778899aabbccddeeff"
	// sourceLen is the length of an envelope of ours around a seed.
	sourceLen = 104
)

// kmsValue is what an API server stores under KMS v2 for an object of about `size` bytes. Ciphertext is random bytes to everybody else.
func kmsValue(source *rand.ChaCha8, size int) ([]byte, error) {
	object := &kmstypes.EncryptedObject{
		EncryptedData:          make([]byte, max(1, size-sourceLen-len(prefix)-len(keyID)-12)),
		KeyID:                  keyID,
		EncryptedDEKSource:     make([]byte, sourceLen),
		EncryptedDEKSourceType: kmstypes.EncryptedDEKSourceType_HKDF_SHA256_XNONCE_AES_GCM_SEED,
	}
	source.Read(object.EncryptedData)
	source.Read(object.EncryptedDEKSource)
	message, err := proto.Marshal(object)
	if err != nil {
		return nil, err
	}
	return append([]byte(prefix), message...), nil
}
