package main

import "golang.org/x/net/http2/hpack"

// representation is how HPACK says a literal field (RFC 7541, section 6.2): its first bits, and how many bits its index has.
type representation struct {
	name  string
	bits  byte
	width uint
}

var (
	withIndexing    = representation{"with indexing", 0x40, 6}
	withoutIndexing = representation{"without indexing", 0x00, 4}
	neverIndexed    = representation{"never indexed", 0x10, 4}
)

// newestEntry is the index of the field that was put into the dynamic table last: the static table has 61.
const newestEntry = 62

// headerBlock is written field by field, since no library lets its caller choose how a field is said.
type headerBlock struct {
	bytes   []byte
	huffman bool
}

// integer appends a number whose first `width` bits share their byte with `bits` (section 5.1).
func (h *headerBlock) integer(bits byte, width uint, number int) {
	limit := 1<<width - 1
	if number < limit {
		h.bytes = append(h.bytes, bits|byte(number))
		return
	}
	h.bytes = append(h.bytes, bits|byte(limit))
	for number -= limit; number >= 0x80; number >>= 7 {
		h.bytes = append(h.bytes, byte(number)|0x80)
	}
	h.bytes = append(h.bytes, byte(number))
}

// text appends a string, Huffman-coded or as it is (section 5.2).
func (h *headerBlock) text(value string) {
	if !h.huffman {
		h.integer(0x00, 7, len(value))
		h.bytes = append(h.bytes, value...)
		return
	}
	h.integer(0x80, 7, int(hpack.HuffmanEncodeLength(value)))
	h.bytes = hpack.AppendHuffmanString(h.bytes, value)
}

// indexed appends a field that stands in a table.
func (h *headerBlock) indexed(index int) { h.integer(0x80, 7, index) }

// literal appends a field whose name stands in a table at `index`, or is `name` if that is 0.
func (h *headerBlock) literal(how representation, index int, name, value string) {
	h.integer(how.bits, how.width, index)
	if index == 0 {
		h.text(name)
	}
	h.text(value)
}

// tableSize appends a change of the dynamic table's size, which may only stand at the start of a block.
func (h *headerBlock) tableSize(size int) { h.integer(0x20, 5, size) }

// headers is the plainest header block of a call: nothing is put into the table.
func headers(method, authority string) *headerBlock {
	h := &headerBlock{}
	h.before(method)
	h.literal(withoutIndexing, 1, "", authority)
	h.after()
	return h
}

// before writes the fields that grpc-go writes before :authority, after those behind it.
func (h *headerBlock) before(method string) {
	h.indexed(3) // :method POST
	h.indexed(6) // :scheme http
	h.literal(withoutIndexing, 4, "", method)
}

func (h *headerBlock) after() {
	h.literal(withoutIndexing, 31, "", "application/grpc")
	h.literal(withoutIndexing, 58, "", "conformance/1")
	h.literal(withoutIndexing, 0, "te", "trailers")
	h.literal(withoutIndexing, 0, "grpc-timeout", "99S")
}
