package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	kmsv1 "k8s.io/kms/apis/v1beta1"
	kmsv2 "k8s.io/kms/apis/v2"
)

// maxMessage is the longest request that the plugin takes.
const maxMessage = 64 << 10

// uidsAreLoggedSafely tries what could forge, tear or flood a log. Each uid contains a word of its own to find its line by.
func uidsAreLoggedSafely(ctx context.Context, b *bed, c *check) {
	p := b.plain(ctx, c)
	k := b.connect(ctx, c)
	defer k.close()
	const forged = "2026-01-01T00:00:00.000000Z INFO ready key_id=forged"
	tries := []struct{ word, uid string }{
		{"", ""},
		{"uidlong", "uidlong" + strings.Repeat("x", 10_000)},
		{"uidumlaut", "uidumlaut-é-日本-\U0001F511-" + strings.Repeat("é", 5_000)},
		{"uidnewline", "uidnewline\n" + forged + "\r\n" + forged},
		{"uidescape", "uidescape\x1b[2J\x1b]0;title\x07\x00\x01\x7f\t\b\u0085\u009b31m\u2028end"},
		{"uidquote", `uidquote" code=OK us=1 "\" \\`},
	}
	// A call behind others on the same connection: whatever they log is there by the time that its own line is.
	flush := func(from int) {
		marker := uid()
		_, err := k.v2.Encrypt(ctx, &kmsv2.EncryptRequest{Plaintext: seed(), Uid: marker})
		c.must(err, "Encrypt")
		_, err = p.awaitLine(ctx, from, func(line string) bool { return strings.Contains(line, marker) })
		c.must(err, "log line of the call behind")
	}
	flush(p.log.len())
	for _, try := range tries {
		from := p.log.len()
		wrapped, err := k.v2.Encrypt(ctx, &kmsv2.EncryptRequest{Plaintext: seed(), Uid: try.uid})
		c.must(err, "Encrypt with "+try.word)
		_, err = k.v2.Decrypt(ctx, &kmsv2.DecryptRequest{Ciphertext: wrapped.Ciphertext, KeyId: wrapped.KeyId, Uid: try.uid})
		c.must(err, "Decrypt with "+try.word)
		for _, op := range []string{"op=Encrypt ", "op=Decrypt "} {
			_, err := p.awaitLine(ctx, from, func(line string) bool {
				if try.word == "" {
					return strings.Contains(line, op) && (!strings.Contains(line, " uid=") || strings.Contains(line, ` uid="" `))
				}
				return strings.Contains(line, op) && strings.Contains(line, try.word)
			})
			c.must(err, fmt.Sprintf("log line of %swith %q", op, try.word))
		}
		flush(from)
		requests := 0
		for _, line := range p.log.since(from) {
			if strings.Contains(line, " request op=") {
				requests++
			}
			if len(line) >= 1024 {
				c.failf("%q: a log line of %d bytes", try.word, len(line))
			}
			if !utf8.ValidString(line) || strings.ContainsFunc(line, unsafeInLog) {
				c.failf("%q: a log line with raw control characters: %.300q", try.word, line)
			}
			if strings.HasPrefix(line, forged) {
				c.failf("%q: a forged log line", try.word)
			}
			if try.word == "uidquote" && strings.Contains(line, `uidquote" code=OK us=1`) {
				c.failf("%q: the uid ends its own quotes: %q", try.word, line)
			}
		}
		if requests != 3 {
			c.failf("%q: %d request lines instead of 3", try.word, requests)
		}
	}
}

// unsafeInLog tells characters that a terminal or a log collector may obey: controls, and line and paragraph separators.
func unsafeInLog(r rune) bool {
	return unicode.IsControl(r) || r == '\u2028' || r == '\u2029'
}

func bigMessages(ctx context.Context, b *bed, c *check) {
	k := b.connect(ctx, c)
	defer k.close()
	// An Encrypt of exactly that many bytes on the wire: tag and length of the field take 4.
	sized := func(size int) []byte {
		bytes, err := proto.Marshal(&kmsv2.EncryptRequest{Plaintext: make([]byte, size-4)})
		c.must(err, "message")
		if len(bytes) != size {
			c.stopf("made a message of %d bytes instead of %d", len(bytes), size)
		}
		return bytes
	}
	for size, want := range map[int]codes.Code{
		maxMessage: codes.InvalidArgument, maxMessage + 1: codes.OutOfRange, 65 << 10: codes.OutOfRange, 2 << 20: codes.OutOfRange,
	} {
		for range 3 {
			_, err := k.raw(ctx, encryptMethod, sized(size))
			c.wantCode(err, want, "", fmt.Sprintf("a message of %d bytes", size))
			_, err = k.status(ctx)
			c.must(err, fmt.Sprintf("Status after a message of %d bytes", size))
		}
	}
}

func unknownFields(ctx context.Context, b *bed, c *check) {
	k := b.connect(ctx, c)
	defer k.close()
	// One of every wire type, with a low, a high and the highest field number, around the known fields.
	var extra []byte
	for _, number := range []protowire.Number{15, 1000, protowire.MaxValidNumber} {
		extra = protowire.AppendVarint(protowire.AppendTag(extra, number, protowire.VarintType), 1<<40)
		extra = protowire.AppendFixed32(protowire.AppendTag(extra, number, protowire.Fixed32Type), 7)
		extra = protowire.AppendFixed64(protowire.AppendTag(extra, number, protowire.Fixed64Type), 7)
		extra = append(extra, bytesField(number, []byte("later"))...)
		extra = protowire.AppendTag(extra, number, protowire.StartGroupType)
		extra = append(extra, bytesField(1, []byte("inside"))...)
		extra = protowire.AppendTag(extra, number, protowire.EndGroupType)
	}
	plaintext := seed()
	_, err := k.raw(ctx, statusMethod, extra)
	c.must(err, "Status with unknown fields")
	bytes, err := k.raw(ctx, encryptMethod, message(extra, bytesField(1, plaintext), extra, bytesField(2, []byte(uid())), extra))
	c.must(err, "Encrypt with unknown fields")
	var wrapped kmsv2.EncryptResponse
	c.must(proto.Unmarshal(bytes, &wrapped), "answer")
	bytes, err = k.raw(ctx, decryptMethod, message(bytesField(3, []byte(wrapped.KeyId)), extra, bytesField(1, wrapped.Ciphertext), extra))
	c.must(err, "Decrypt with unknown fields")
	var opened kmsv2.DecryptResponse
	c.must(proto.Unmarshal(bytes, &opened), "answer")
	c.wantBytes(opened.Plaintext, plaintext, "round trip")
}

func undecodableMessages(ctx context.Context, b *bed, c *check) {
	k := b.connect(ctx, c)
	defer k.close()
	wrapped, err := k.encrypt(ctx, seed())
	c.must(err, "Encrypt")
	ciphertext, keyID := bytesField(1, wrapped.Ciphertext), bytesField(3, []byte(wrapped.KeyId))
	whole := message(ciphertext, keyID)
	cases := map[string]struct {
		method string
		bytes  []byte
	}{
		"invalid UTF-8 in key_id":            {decryptMethod, message(ciphertext, bytesField(3, []byte("kw1.\xff\xfe")))},
		"overlong UTF-8 in key_id":           {decryptMethod, message(ciphertext, bytesField(3, []byte("kw1\xc0\xae")))},
		"a surrogate in key_id":              {decryptMethod, message(ciphertext, bytesField(3, []byte("\xed\xa0\x80")))},
		"invalid UTF-8 in uid":               {decryptMethod, message(whole, bytesField(2, []byte{0xff}))},
		"invalid UTF-8 in an annotation key": {decryptMethod, message(whole, bytesField(4, bytesField(1, []byte{0xff})))},
		"invalid UTF-8 in Encrypt's uid":     {encryptMethod, message(bytesField(1, seed()), bytesField(2, []byte{0xff}))},
		"a message cut inside a field":       {decryptMethod, whole[:len(whole)-1]},
		"a message cut inside a length":      {decryptMethod, []byte{0x0a, 0x80}},
		"a number where bytes belong":        {encryptMethod, []byte{0x08, 0x01}},
		"a tag without end":                  {encryptMethod, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}},
		"field number zero":                  {encryptMethod, []byte{0x02, 0x00}},
		"a group that does not end":          {encryptMethod, []byte{0x7b}},
		"a length beyond the message":        {encryptMethod, []byte{0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f}},
	}
	for what, try := range cases {
		_, err := k.raw(ctx, try.method, try.bytes)
		c.wantCode(err, codes.Internal, "", what)
	}
	_, err = k.reopen(ctx, wrapped)
	c.must(err, "Decrypt afterwards on the same connection")
}

// compressedMessages are what grpc-go sends to a server of which it was told that it understands gzip.
func compressedMessages(ctx context.Context, b *bed, c *check) {
	k := b.connect(ctx, c)
	defer k.close()
	_, err := k.v2.Encrypt(ctx, &kmsv2.EncryptRequest{Plaintext: seed(), Uid: uid()}, grpc.UseCompressor(gzip.Name))
	c.wantCode(err, codes.Unimplemented, "", "a compressed message")
	c.must(pair(ctx, c, k), "a call afterwards on the same connection")
}

// otherProtocols talk to the socket in what is not HTTP/2.
func otherProtocols(ctx context.Context, b *bed, c *check) {
	p := b.plain(ctx, c)
	k := b.connect(ctx, c)
	defer k.close()
	c.must(pair(ctx, c, k), "a call before")
	for what, bytes := range map[string]string{
		"HTTP/1":                   "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"TLS":                      "\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00" + strings.Repeat("\x00", 32),
		"zeros":                    strings.Repeat("\x00", 4096),
		"a preface, then nonsense": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + strings.Repeat("\xff", 64),
	} {
		conn, err := net.Dial("unix", p.socket)
		c.must(err, "connection")
		c.must(conn.SetDeadline(time.Now().Add(startDeadline)), "deadline")
		// The plugin may hang up before it has read all; that is what is wanted.
		_, _ = conn.Write([]byte(bytes))
		if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
			c.failf("%s: the connection stays open", what)
		}
		_ = conn.Close()
		c.must(pair(ctx, c, k), "a call on another connection after "+what)
	}
}

func unknownMethods(ctx context.Context, b *bed, c *check) {
	k := b.connect(ctx, c)
	defer k.close()
	for _, method := range []string{
		"/v2.KeyManagementService/Rotate", "/v2.KeyManagementService/status", "/v2.KeyManagementService/", "/v2.KeyManagementService/Status/", "/Status",
		"/v2alpha1.KeyManagementService/Status", "/v2alpha1.KeyManagementService/Encrypt", "/v2alpha1.KeyManagementService/Decrypt",
		"/v2beta1.KeyManagementService/Status", "/v1.KeyManagementService/Version", "/grpc.health.v1.Health/Check",
	} {
		_, err := k.raw(ctx, method, nil)
		c.wantCode(err, codes.Unimplemented, "", method)
	}
	_, err := k.v1.Version(ctx, &kmsv1.VersionRequest{Version: "v1beta1"})
	c.wantCode(err, codes.Unimplemented, "", "v1beta1 Version")
	_, err = k.v1.Encrypt(ctx, &kmsv1.EncryptRequest{Version: "v1beta1", Plain: seed()})
	c.wantCode(err, codes.Unimplemented, "", "v1beta1 Encrypt")
	_, err = k.v1.Decrypt(ctx, &kmsv1.DecryptRequest{Version: "v1beta1", Cipher: make([]byte, 104)})
	c.wantCode(err, codes.Unimplemented, "", "v1beta1 Decrypt")
	_, err = k.status(ctx)
	c.must(err, "Status afterwards on the same connection")
}
