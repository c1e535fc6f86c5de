package main

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/hex"
	"errors"

	"k8s.io/kms/pkg/service"
)

// memoryKEK wraps with AES-256-GCM: a random 12-byte nonce before the sealed bytes, the key_id as associated data.
type memoryKEK struct {
	aead  cipher.AEAD
	keyID string
}

var _ service.Service = (*memoryKEK)(nil)

func newMemoryKEK() (*memoryKEK, error) {
	// crypto/rand ends the process rather than fail.
	key, id := make([]byte, 32), make([]byte, 16)
	rand.Read(key)
	rand.Read(id)
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	return &memoryKEK{aead: aead, keyID: "reference." + hex.EncodeToString(id)}, nil
}

// Status implements service.Service.
func (k *memoryKEK) Status(context.Context) (*service.StatusResponse, error) {
	return &service.StatusResponse{Version: "v2", Healthz: "ok", KeyID: k.keyID}, nil
}

// Encrypt implements service.Service.
func (k *memoryKEK) Encrypt(_ context.Context, _ string, plaintext []byte) (*service.EncryptResponse, error) {
	nonce := make([]byte, k.aead.NonceSize(), k.aead.NonceSize()+len(plaintext)+k.aead.Overhead())
	rand.Read(nonce)
	ciphertext := k.aead.Seal(nonce, nonce, plaintext, []byte(k.keyID))
	return &service.EncryptResponse{Ciphertext: ciphertext, KeyID: k.keyID}, nil
}

// Decrypt implements service.Service.
func (k *memoryKEK) Decrypt(_ context.Context, _ string, req *service.DecryptRequest) ([]byte, error) {
	if req.KeyID != k.keyID {
		return nil, errors.New("unknown key_id")
	}
	size := k.aead.NonceSize()
	if len(req.Ciphertext) < size {
		return nil, errors.New("ciphertext too short")
	}
	return k.aead.Open(nil, req.Ciphertext[:size], req.Ciphertext[size:], []byte(k.keyID))
}
