package main

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"unicode/utf8"

	"google.golang.org/grpc/codes"
)

// Texts that the plugin promises not to change: operators search for them.
const (
	notReady       = "keyring is not ready yet"
	badPlaintext   = "plaintext must have 1 to 952 bytes"
	badCiphertext  = "ciphertext must have 1 to 1024 bytes"
	badKeyID       = "key_id must have 1 to 1024 bytes"
	badAnnotations = "annotations are over the limits of KMS v2"
	badVersion     = "version must be v1beta1"
	notOurs        = "key_id is not one of this keyring"
	doesNotOpen    = "ciphertext does not open"
)

// patterns are what a byte is flipped with: each single bit, and all.
var patterns = []byte{0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0xff}

// refused sends bytes to Decrypt and wants an error. A plaintext is worse than any wrong code: the API server would cache it.
func refused(ctx context.Context, c *check, k *client, ciphertext []byte, keyID string, code codes.Code, message, what string) {
	opened, err := k.decrypt(ctx, ciphertext, keyID)
	if err == nil {
		c.failf("%s: answered with a plaintext of %d bytes", what, len(opened))
		return
	}
	c.wantCode(err, code, message, what)
}

func wrongKeyIDs(ctx context.Context, b *bed, c *check) {
	k := b.connect(ctx, c)
	defer k.close()
	stranger := dial(c, b.other(ctx, c).socket, localhost)
	defer stranger.close()
	ours, err := k.encrypt(ctx, seed())
	c.must(err, "Encrypt")
	theirs, err := stranger.encrypt(ctx, seed())
	c.must(err, "Encrypt of the other plugin")

	refused(ctx, c, k, theirs.Ciphertext, theirs.KeyId, codes.NotFound, notOurs, "another plugin's answer as it is")
	refused(ctx, c, k, ours.Ciphertext, theirs.KeyId, codes.NotFound, notOurs, "another plugin's key_id")
	refused(ctx, c, k, theirs.Ciphertext, ours.KeyId, codes.DataLoss, doesNotOpen, "another plugin's ciphertext")
	refused(ctx, c, k, ours.Ciphertext, "", codes.InvalidArgument, badKeyID, "an empty key_id")
	refused(ctx, c, k, ours.Ciphertext, strings.Repeat("k", maxKeyID+1), codes.InvalidArgument, badKeyID, "a key_id of 1025 bytes")

	check := ours.KeyId[strings.LastIndexByte(ours.KeyId, '.')+1:]
	keyring := strings.Split(ours.KeyId, ".")[1]
	unknown := []string{
		"k", strings.Repeat("k", maxKeyID), "kw1", "kw1...", "reference.1", ours.KeyId + ".", ours.KeyId + "0", " " + ours.KeyId, ours.KeyId + "\n",
		ours.KeyId + "\x00", strings.ToUpper(ours.KeyId), "kw2" + ours.KeyId[3:],
		fmt.Sprintf("kw1.%s.0.%s", keyring, check), fmt.Sprintf("kw1.%s.01.%s", keyring, check), fmt.Sprintf("kw1.%s.2.%s", keyring, check),
		fmt.Sprintf("kw1.%s.+1.%s", keyring, check), fmt.Sprintf("kw1.%s.4294967297.%s", keyring, check), "../../keyring", "kw1.é.1." + check,
	}
	for _, keyID := range unknown {
		refused(ctx, c, k, ours.Ciphertext, keyID, codes.NotFound, notOurs, fmt.Sprintf("key_id %.80q", keyID))
	}
}

// flippedKeyIDs sends raw messages, since grpc-go itself refuses to send text that is not UTF-8.
func flippedKeyIDs(ctx context.Context, b *bed, c *check) {
	k := b.connect(ctx, c)
	defer k.close()
	wrapped, err := k.encrypt(ctx, seed())
	c.must(err, "Encrypt")
	send := func(keyID, what string) {
		_, err := k.raw(ctx, decryptMethod, message(bytesField(1, wrapped.Ciphertext), bytesField(2, []byte(uid())), bytesField(3, []byte(keyID))))
		code, text := codes.NotFound, notOurs
		switch {
		case !utf8.ValidString(keyID):
			code, text = codes.Internal, ""
		case keyID == "":
			code, text = codes.InvalidArgument, badKeyID
		}
		c.wantCode(err, code, text, what)
	}
	for at := range len(wrapped.KeyId) {
		for _, pattern := range patterns {
			flipped := []byte(wrapped.KeyId)
			flipped[at] ^= pattern
			send(string(flipped), fmt.Sprintf("byte %d of the key_id ^ %#02x", at, pattern))
		}
		send(wrapped.KeyId[:at], fmt.Sprintf("the first %d bytes of the key_id", at))
	}
}

func flippedCiphertexts(ctx context.Context, b *bed, c *check) {
	k := b.connect(ctx, c)
	defer k.close()
	wrapped, err := k.encrypt(ctx, seed())
	c.must(err, "Encrypt")
	for at := range wrapped.Ciphertext {
		for _, pattern := range patterns {
			flipped := bytes.Clone(wrapped.Ciphertext)
			flipped[at] ^= pattern
			refused(ctx, c, k, flipped, wrapped.KeyId, codes.DataLoss, doesNotOpen, fmt.Sprintf("byte %d ^ %#02x", at, pattern))
		}
	}
	_, err = k.reopen(ctx, wrapped)
	c.must(err, "Decrypt of the unaltered ciphertext afterwards")
}

func cutCiphertexts(ctx context.Context, b *bed, c *check) {
	k := b.connect(ctx, c)
	defer k.close()
	plaintext := seed()
	wrapped, err := k.encrypt(ctx, plaintext)
	c.must(err, "Encrypt")
	whole := wrapped.Ciphertext
	refused(ctx, c, k, nil, wrapped.KeyId, codes.InvalidArgument, badCiphertext, "an empty ciphertext")
	for size := 1; size < len(whole); size++ {
		refused(ctx, c, k, whole[:size], wrapped.KeyId, codes.DataLoss, doesNotOpen, fmt.Sprintf("the first %d bytes", size))
		refused(ctx, c, k, whole[size:], wrapped.KeyId, codes.DataLoss, doesNotOpen, fmt.Sprintf("all but the first %d bytes", size))
	}
	for _, size := range []int{len(whole) + 1, 2 * len(whole), maxCiphertext} {
		extended := append(bytes.Clone(whole), make([]byte, size-len(whole))...)
		refused(ctx, c, k, extended, wrapped.KeyId, codes.DataLoss, doesNotOpen, fmt.Sprintf("extended to %d bytes", size))
	}
	refused(ctx, c, k, append(bytes.Clone(whole), whole...), wrapped.KeyId, codes.DataLoss, doesNotOpen, "said twice")
	refused(ctx, c, k, plaintext, wrapped.KeyId, codes.DataLoss, doesNotOpen, "the plaintext itself")
	refused(ctx, c, k, make([]byte, maxCiphertext+1), wrapped.KeyId, codes.InvalidArgument, badCiphertext, "1025 bytes")
	refused(ctx, c, k, make([]byte, 1<<20), wrapped.KeyId, codes.OutOfRange, "", "1 MiB")
	opened, err := k.reopen(ctx, wrapped)
	c.must(err, "Decrypt of the unaltered ciphertext afterwards")
	c.wantBytes(opened, plaintext, "the unaltered ciphertext afterwards")
}

func annotationsNotIssued(ctx context.Context, b *bed, c *check) {
	k := b.connect(ctx, c)
	defer k.close()
	plaintext := seed()
	wrapped, err := k.encrypt(ctx, plaintext)
	c.must(err, "Encrypt")
	if len(wrapped.Annotations) != 0 {
		c.stopf("Encrypt issues annotations: this item must be extended to missing, changed and reordered ones")
	}
	for _, annotations := range []map[string][]byte{{"a.com": nil}, {"a.com": []byte("v")}, {"a.com": {0}, "b.com": {1}}} {
		c.wantCode(decryptWith(ctx, k, wrapped, annotations), codes.DataLoss, doesNotOpen, fmt.Sprintf("%d extra annotations", len(annotations)))
	}
	c.must(decryptWith(ctx, k, wrapped, map[string][]byte{}), "an empty map of annotations")
}
