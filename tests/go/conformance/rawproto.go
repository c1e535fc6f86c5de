package main

import (
	"bytes"
	"context"
	"encoding/binary"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protowire"
)

const (
	statusMethod  = "/v2.KeyManagementService/Status"
	encryptMethod = "/v2.KeyManagementService/Encrypt"
	decryptMethod = "/v2.KeyManagementService/Decrypt"
)

// rawCodec sends and receives bytes as they are. Its empty name keeps the content type at plain application/grpc.
type rawCodec struct{}

func (rawCodec) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }

func (rawCodec) Unmarshal(data []byte, v any) error {
	*v.(*[]byte) = bytes.Clone(data)
	return nil
}

func (rawCodec) Name() string { return "" }

// raw calls a method with a message that need not be one.
func (k *client) raw(ctx context.Context, method string, request []byte) ([]byte, error) {
	var answer []byte
	err := k.conn.Invoke(ctx, method, &request, &answer, grpc.ForceCodec(rawCodec{}))
	return answer, err
}

// bytesField is one length-delimited protobuf field.
func bytesField(number protowire.Number, value []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, number, protowire.BytesType), value)
}

// message is its fields one after the other.
func message(fields ...[]byte) []byte { return bytes.Join(fields, nil) }

// grpcFrame puts the five bytes of gRPC before a message.
func grpcFrame(message []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...)
}

// unframe takes the message out of a body with one message, or gives nothing.
func unframe(body []byte) []byte {
	if len(body) < 5 || body[0] != 0 || binary.BigEndian.Uint32(body[1:]) != uint32(len(body)-5) {
		return nil
	}
	return body[5:]
}
