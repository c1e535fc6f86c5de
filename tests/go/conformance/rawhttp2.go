package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"sync"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/protobuf/proto"
	kmsv2 "k8s.io/kms/apis/v2"
)

// rawConn is one HTTP/2 connection whose header blocks and frames are made by hand, to say what no library would.
type rawConn struct {
	conn net.Conn

	// mu guards writing: the reader acknowledges settings and pings.
	mu     sync.Mutex
	framer *http2.Framer
	next   uint32

	streamsMu sync.Mutex
	streams   map[uint32]*rawStream
	pongs     chan struct{}
	// gone is closed when the connection is; ended tells why.
	gone  chan struct{}
	ended error
}

type rawStream struct {
	answer rawAnswer
	done   chan struct{}
}

// rawAnswer is how one request ended.
type rawAnswer struct {
	message []byte
	fields  map[string]string
	reset   *http2.ErrCode
	err     error
}

// served is nil when the request was answered with gRPC status OK.
func (a rawAnswer) served() error {
	switch {
	case a.err != nil:
		return a.err
	case a.reset != nil:
		return fmt.Errorf("RST_STREAM %v", *a.reset)
	case a.fields[":status"] != "200" || a.fields["grpc-status"] != "0":
		return fmt.Errorf("HTTP status %q, gRPC status %q %q", a.fields[":status"], a.fields["grpc-status"], a.fields["grpc-message"])
	}
	return nil
}

// healthy is nil when a Status was answered and says ok.
func (a rawAnswer) healthy() error {
	if err := a.served(); err != nil {
		return err
	}
	var answer kmsv2.StatusResponse
	if err := proto.Unmarshal(a.message, &answer); err != nil {
		return err
	}
	if answer.Healthz != "ok" || answer.Version != "v2" || answer.KeyId == "" {
		return fmt.Errorf("Status says %v", &answer)
	}
	return nil
}

// protocolError is nil when the stream, and only it, was reset with PROTOCOL_ERROR.
func (a rawAnswer) protocolError() error {
	switch {
	case a.reset != nil && *a.reset == http2.ErrCodeProtocol:
		return nil
	case a.reset != nil || a.err != nil:
		return fmt.Errorf("%w instead of RST_STREAM PROTOCOL_ERROR", a.served())
	}
	return fmt.Errorf("answered with HTTP status %q, gRPC status %q", a.fields[":status"], a.fields["grpc-status"])
}

// dialRaw connects and greets.
func dialRaw(ctx context.Context, c *check, socket string) *rawConn {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
	c.must(err, "connection")
	if deadline, ok := ctx.Deadline(); ok {
		c.must(conn.SetDeadline(deadline), "deadline")
	}
	r := &rawConn{
		conn: conn, framer: http2.NewFramer(conn, conn), next: 1,
		streams: map[uint32]*rawStream{}, pongs: make(chan struct{}, 1), gone: make(chan struct{}),
	}
	r.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	_, err = conn.Write([]byte(http2.ClientPreface))
	c.must(err, "preface")
	c.must(r.framer.WriteSettings(http2.Setting{ID: http2.SettingEnablePush, Val: 0}), "settings")
	go r.read()
	return r
}

func (r *rawConn) close() { _ = r.conn.Close() }

// read handles what the server sends until the connection ends.
func (r *rawConn) read() {
	for {
		frame, err := r.framer.ReadFrame()
		if err == nil {
			err = r.handle(frame)
		}
		if err != nil {
			r.ended = fmt.Errorf("the connection ended: %w", err)
			close(r.gone)
			return
		}
	}
}

func (r *rawConn) handle(frame http2.Frame) error {
	switch frame := frame.(type) {
	case *http2.SettingsFrame:
		if !frame.IsAck() {
			r.reply(r.framer.WriteSettingsAck)
		}
	case *http2.PingFrame:
		if frame.IsAck() {
			r.pongs <- struct{}{}
			return nil
		}
		r.reply(func() error { return r.framer.WritePing(true, frame.Data) })
	case *http2.MetaHeadersFrame:
		r.update(frame.StreamID, frame.StreamEnded(), func(a *rawAnswer) {
			for _, f := range frame.Fields {
				a.fields[f.Name] = f.Value
			}
		})
	case *http2.DataFrame:
		r.update(frame.StreamID, frame.StreamEnded(), func(a *rawAnswer) { a.message = append(a.message, frame.Data()...) })
		if size := frame.Length; size > 0 {
			r.reply(func() error { return r.framer.WriteWindowUpdate(0, size) })
		}
	case *http2.RSTStreamFrame:
		code := frame.ErrCode
		r.update(frame.StreamID, true, func(a *rawAnswer) { a.reset = &code })
	case *http2.GoAwayFrame:
		if frame.ErrCode != http2.ErrCodeNo {
			return fmt.Errorf("GOAWAY %v %q", frame.ErrCode, frame.DebugData())
		}
	}
	return nil
}

// update changes the answer of a stream that has not ended yet. A reset after the end, with which a server says that it needs
// no more of the request, changes nothing.
func (r *rawConn) update(id uint32, ended bool, change func(*rawAnswer)) {
	r.streamsMu.Lock()
	defer r.streamsMu.Unlock()
	stream := r.streams[id]
	if stream == nil {
		return
	}
	change(&stream.answer)
	if ended {
		delete(r.streams, id)
		close(stream.done)
	}
}

func (r *rawConn) write(frame func() error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return frame()
}

// reply is a write of the reader. A server that has answered may be gone by now, with the rest of its answer still to be read.
func (r *rawConn) reply(frame func() error) { _ = r.write(frame) }

// request sends the headers of a new stream, as fragments where there are several, and the body if it is not nil.
func (r *rawConn) request(fragments [][]byte, shape http2.HeadersFrameParam, body []byte) (*rawStream, uint32, error) {
	stream := &rawStream{answer: rawAnswer{fields: map[string]string{}}, done: make(chan struct{})}
	r.mu.Lock()
	defer r.mu.Unlock()
	id := r.next
	r.next += 2
	r.streamsMu.Lock()
	r.streams[id] = stream
	r.streamsMu.Unlock()

	shape.StreamID, shape.BlockFragment, shape.EndHeaders = id, fragments[0], len(fragments) == 1
	if err := r.framer.WriteHeaders(shape); err != nil {
		return nil, 0, err
	}
	for i, fragment := range fragments[1:] {
		if err := r.framer.WriteContinuation(id, i == len(fragments)-2, fragment); err != nil {
			return nil, 0, err
		}
	}
	if body == nil {
		return stream, id, nil
	}
	return stream, id, r.framer.WriteData(id, true, body)
}

// open starts a call whose body follows by data.
func (r *rawConn) open(c *check, method, authority string) *openStream {
	stream, id, err := r.request([][]byte{headers(method, authority).bytes}, http2.HeadersFrameParam{}, nil)
	c.must(err, "headers")
	return &openStream{rawStream: stream, id: id}
}

type openStream struct {
	*rawStream
	id uint32
}

func (r *rawConn) data(stream *openStream, end bool, bytes []byte) error {
	return r.write(func() error { return r.framer.WriteData(stream.id, end, bytes) })
}

func (r *rawConn) await(ctx context.Context, stream *openStream) rawAnswer {
	return r.wait(ctx, stream.rawStream)
}

func (r *rawConn) wait(ctx context.Context, stream *rawStream) rawAnswer {
	select {
	case <-stream.done:
	case <-r.gone:
		// The answer may have been the last thing that came.
		select {
		case <-stream.done:
		default:
			return rawAnswer{err: r.ended}
		}
	case <-ctx.Done():
		return rawAnswer{err: ctx.Err()}
	}
	answer := stream.answer
	answer.message = unframe(answer.message)
	return answer
}

// call sends a Status with this header block, in fragments.
func (r *rawConn) call(ctx context.Context, shape http2.HeadersFrameParam, fragments ...[]byte) rawAnswer {
	stream, _, err := r.request(fragments, shape, grpcFrame(nil))
	if err != nil {
		// A server that hangs up tells its reason to the reader.
		<-r.gone
		return rawAnswer{err: fmt.Errorf("%w (%w)", err, r.ended)}
	}
	return r.wait(ctx, stream)
}

// cancelled sends so many calls, each with its cancellation right behind it, in one write.
func (r *rawConn) cancelled(count int, block, body []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all bytes.Buffer
	framer := http2.NewFramer(&all, nil)
	for range count {
		id := r.next
		r.next += 2
		err := framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block, EndHeaders: true})
		if err == nil {
			err = framer.WriteData(id, true, body)
		}
		if err == nil {
			err = framer.WriteRSTStream(id, http2.ErrCodeCancel)
		}
		if err != nil {
			return err
		}
	}
	_, err := r.conn.Write(all.Bytes())
	return err
}

// status sends a Status in the plainest way.
func (r *rawConn) status(ctx context.Context, authority string) rawAnswer {
	return r.call(ctx, http2.HeadersFrameParam{}, headers(statusMethod, authority).bytes)
}

// ping returns when the server has read everything sent before.
func (r *rawConn) ping(ctx context.Context) error {
	if err := r.write(func() error { return r.framer.WritePing(false, [8]byte{1}) }); err != nil {
		return err
	}
	select {
	case <-r.pongs:
		return nil
	case <-r.gone:
		return r.ended
	case <-ctx.Done():
		return ctx.Err()
	}
}
