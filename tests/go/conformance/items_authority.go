package main

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// What clients have sent as :authority. The last two are socket paths: grpc-go before and after it began to encode them.
var (
	plainNames = []string{"localhost", "@kms.sock"}
	pathNames  = []string{"%2Fvar%2Frun%2Fkms.sock", "/var/run/kms.sock", "%2Frun%2Fkeywright%2Fkms.sock", "/a/b-c_d.e/~f/1"}
)

// expectation judges an answer: nil is right.
type expectation func(rawAnswer) error

// sayings sends `authority` in every way that HPACK and HTTP/2 allow on one connection, and after each a plain request, which
// must always be served: neither the connection nor its header table may suffer.
func sayings(ctx context.Context, c *check, socket, authority string, expect expectation) {
	conn := dialRaw(ctx, c, socket)
	defer conn.close()
	try := func(what string, shape http2.HeadersFrameParam, fragments ...[]byte) {
		if err := expect(conn.call(ctx, shape, fragments...)); err != nil {
			c.failf("%q %s: %v", authority, what, err)
		}
		if err := conn.status(ctx, "localhost").healthy(); err != nil {
			c.stopf("localhost behind %q %s: %v", authority, what, err)
		}
	}
	for _, huffman := range []bool{false, true} {
		coding := map[bool]string{false: "plain", true: "Huffman-coded"}[huffman]
		for _, how := range []representation{withoutIndexing, neverIndexed, withIndexing} {
			block := &headerBlock{huffman: huffman}
			block.before(statusMethod)
			block.literal(how, 1, "", authority)
			block.after()
			what := fmt.Sprintf("%s, %s", coding, how.name)
			try(what, http2.HeadersFrameParam{}, block.bytes)
			if how == withIndexing {
				for range 3 {
					try(what+", then by index", http2.HeadersFrameParam{}, byIndex(newestEntry).bytes)
				}
			}
			try(what+", padded", http2.HeadersFrameParam{PadLength: 7}, block.bytes)
			try(what+", with priority", http2.HeadersFrameParam{Priority: http2.PriorityParam{Weight: 15}}, block.bytes)
			try(what+", padded, with priority, in three fragments",
				http2.HeadersFrameParam{PadLength: 200, Priority: http2.PriorityParam{Weight: 15}}, thirds(block.bytes)...)
		}
		cleared := &headerBlock{huffman: huffman}
		cleared.tableSize(0)
		cleared.tableSize(4096)
		cleared.before(statusMethod)
		cleared.literal(withIndexing, 1, "", authority)
		cleared.after()
		try(coding+" after the table was cleared", http2.HeadersFrameParam{}, cleared.bytes)
		try(coding+" after the table was cleared, then by index", http2.HeadersFrameParam{}, byIndex(newestEntry).bytes)
	}
}

// byIndex is a header block whose :authority is an entry of the dynamic table.
func byIndex(index int) *headerBlock {
	h := &headerBlock{}
	h.before(statusMethod)
	h.indexed(index)
	h.after()
	return h
}

func thirds(block []byte) [][]byte {
	third := len(block) / 3
	return [][]byte{block[:third], block[third : 2*third], block[2*third:]}
}

func plainAuthorities(ctx context.Context, b *bed, c *check) {
	for _, p := range []*plugin{b.plain(ctx, c), b.legacy(ctx, c)} {
		for _, name := range plainNames {
			sayings(ctx, c, p.socket, name, rawAnswer.healthy)
		}
	}
}

func pathAuthoritiesRefused(ctx context.Context, b *bed, c *check) {
	socket := b.plain(ctx, c).socket
	for _, name := range pathNames {
		sayings(ctx, c, socket, name, rawAnswer.protocolError)
	}
}

func pathAuthoritiesServed(ctx context.Context, b *bed, c *check) {
	socket := b.legacy(ctx, c).socket
	for _, name := range pathNames {
		sayings(ctx, c, socket, name, rawAnswer.healthy)
	}
}

// splitHeaderBlocks cuts a header block in two at every place, the ends included, with both codings and in both modes.
func splitHeaderBlocks(ctx context.Context, b *bed, c *check) {
	for _, mode := range []struct {
		plugin *plugin
		expect expectation
	}{{b.legacy(ctx, c), rawAnswer.healthy}, {b.plain(ctx, c), rawAnswer.protocolError}} {
		for _, huffman := range []bool{false, true} {
			for _, name := range pathNames[:2] {
				conn := dialRaw(ctx, c, mode.plugin.socket)
				defer conn.close()
				block := &headerBlock{huffman: huffman}
				block.before(statusMethod)
				block.literal(withIndexing, 1, "", name)
				block.after()
				for at := 0; at <= len(block.bytes); at++ {
					what := fmt.Sprintf("%q cut after %d of %d bytes, Huffman %t", name, at, len(block.bytes), huffman)
					answer := conn.call(ctx, http2.HeadersFrameParam{}, block.bytes[:at], block.bytes[at:])
					if err := mode.expect(answer); err != nil {
						c.failf("%s: %v", what, err)
					}
					if answer.err != nil {
						c.stopf("the connection is lost")
					}
				}
				if err := mode.expect(conn.call(ctx, http2.HeadersFrameParam{}, byIndex(newestEntry).bytes)); err != nil {
					c.failf("%q by index after the cuts: %v", name, err)
				}
				if err := conn.status(ctx, "localhost").healthy(); err != nil {
					c.failf("localhost after the cuts: %v", err)
				}
			}
		}
	}
}

// churnedHeaderTable lets a full HPACK encoder choose. Its dynamic table overflows again and again, so an entry of another size
// on the plugin's side would sooner or later make an index mean another field.
func churnedHeaderTable(ctx context.Context, b *bed, c *check) {
	socket := b.legacy(ctx, c).socket
	for _, name := range append(pathNames, plainNames...) {
		conn := dialRaw(ctx, c, socket)
		defer conn.close()
		var block bytes.Buffer
		encoder := hpack.NewEncoder(&block)
		for i := range 120 {
			block.Reset()
			fields := [][2]string{
				{":method", "POST"}, {":scheme", "http"}, {":path", statusMethod}, {":authority", name}, {"content-type", "application/grpc"},
				{"user-agent", "grpc-go/1.82.1"}, {"te", "trailers"}, {"grpc-timeout", fmt.Sprintf("%dm", 2999000+i)},
				// Of every length from 1 to 120, so that the entry of :authority is evicted at ever new places.
				{"x-filler", strings.Repeat(string(rune('a'+i%26)), 1+i*7%120)},
			}
			for _, f := range fields {
				c.must(encoder.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}), "header field")
			}
			if err := conn.call(ctx, http2.HeadersFrameParam{}, bytes.Clone(block.Bytes())).healthy(); err != nil {
				c.failf("%q, request %d: %v", name, i, err)
				break
			}
		}
	}
}

// grpcGoPathAuthority is the v2 client of Kubernetes 1.31 and earlier.
func grpcGoPathAuthority(ctx context.Context, b *bed, c *check) {
	k := dial(c, b.legacy(ctx, c).socket, socketPath)
	defer k.close()
	for range 50 {
		c.must(pair(ctx, c, k), "pair")
	}
	// Without legacy_clients this client is turned away, and not left waiting.
	k = dial(c, b.plain(ctx, c).socket, socketPath)
	defer k.close()
	if _, err := k.status(ctx); err == nil || ctx.Err() != nil {
		c.failf("without legacy_clients: %v", err)
	} else {
		c.notef("without legacy_clients: %v", err)
	}
}
