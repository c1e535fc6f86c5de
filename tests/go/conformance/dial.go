package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	kmsv1 "k8s.io/kms/apis/v1beta1"
	kmsv2 "k8s.io/kms/apis/v2"
)

// authority is what a client sends as :authority.
type authority bool

const (
	// localhost is what kube-apiserver's v2 client sends from 1.32 on.
	localhost authority = false
	// socketPath is what older ones and the v1 client of every release send: the percent-encoded path.
	socketPath authority = true
)

// client is one connection with the published stubs of both API versions.
type client struct {
	conn *grpc.ClientConn
	v2   kmsv2.KeyManagementServiceClient
	v1   kmsv1.KeyManagementServiceClient
	// failedDials gets a value for each connection attempt that failed, as long as there is room.
	failedDials chan error
}

// dial makes a client with the options that kube-apiserver gives to grpc-go (seen in k8s.io/apiserver 0.37). It does not wait.
func dial(c *check, socket string, sends authority) *client {
	failed := make(chan error, 1)
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.WaitForReady(true)),
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) {
			conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: socket, Net: "unix"})
			if err != nil {
				select {
				case failed <- err:
				default:
				}
				return nil, err
			}
			return conn, nil
		}),
	}
	if sends == localhost {
		options = append(options, grpc.WithAuthority("localhost"))
	}
	// Dial, though deprecated, is what kube-apiserver calls; it connects at once, NewClient only at the first call.
	conn, err := grpc.Dial(socket, options...)
	c.must(err, "dial")
	return &client{
		conn:        conn,
		v2:          kmsv2.NewKeyManagementServiceClient(conn),
		v1:          kmsv1.NewKeyManagementServiceClient(conn),
		failedDials: failed,
	}
}

func (k *client) close() { _ = k.conn.Close() }

// seed makes what kube-apiserver asks to wrap: 32 random bytes.
func seed() []byte {
	bytes := make([]byte, 32)
	rand.Read(bytes)
	return bytes
}

// uid makes a random identifier such as kube-apiserver sends.
func uid() string {
	b := make([]byte, 16)
	rand.Read(b)
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16])
}

func (k *client) status(ctx context.Context) (*kmsv2.StatusResponse, error) {
	return k.v2.Status(ctx, &kmsv2.StatusRequest{})
}

func (k *client) encrypt(ctx context.Context, plaintext []byte) (*kmsv2.EncryptResponse, error) {
	return k.v2.Encrypt(ctx, &kmsv2.EncryptRequest{Plaintext: plaintext, Uid: uid()})
}

func (k *client) decrypt(ctx context.Context, ciphertext []byte, keyID string) ([]byte, error) {
	answer, err := k.v2.Decrypt(ctx, &kmsv2.DecryptRequest{Ciphertext: ciphertext, KeyId: keyID, Uid: uid()})
	return answer.GetPlaintext(), err
}

// reopen decrypts an answer of Encrypt as kube-apiserver does: everything in it goes back as it came.
func (k *client) reopen(ctx context.Context, wrapped *kmsv2.EncryptResponse) ([]byte, error) {
	answer, err := k.v2.Decrypt(ctx, &kmsv2.DecryptRequest{
		Ciphertext: wrapped.Ciphertext, KeyId: wrapped.KeyId, Annotations: wrapped.Annotations, Uid: uid(),
	})
	return answer.GetPlaintext(), err
}
