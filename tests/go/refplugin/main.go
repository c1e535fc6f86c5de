// Command refplugin is the yardstick of the benchmarks: the KMS v2 server that Kubernetes publishes for plugin authors
// (k8s.io/kms/pkg/service, as it is) with AES-256-GCM under a key that lives in memory only. It is no plugin to use.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"k8s.io/kms/pkg/service"
)

const startDeadline = 10 * time.Second

func main() {
	socket := flag.String("socket", "", "path of the Unix socket to serve on; nothing may be there yet")
	flag.Parse()
	if *socket == "" || flag.NArg() != 0 {
		flag.Usage()
		os.Exit(2)
	}
	if err := serve(*socket); err != nil {
		fmt.Fprintln(os.Stderr, "refplugin:", err)
		os.Exit(1)
	}
}

// serve answers on `socket` until SIGTERM or SIGINT, then lets the calls in flight finish.
func serve(socket string) error {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, os.Interrupt)

	kek, err := newMemoryKEK()
	if err != nil {
		return err
	}
	server := service.NewGRPCService(socket, startDeadline, kek)
	ended := make(chan error, 1)
	go func() { ended <- server.ListenAndServe() }()
	if err := awaitListening(socket, ended); err != nil {
		return err
	}
	fmt.Println("ready")

	select {
	case err := <-ended:
		return err
	case <-stop:
		server.Shutdown()
		return <-ended
	}
}

// awaitListening returns once the server has greeted a connection. The library tells nobody when it listens, and its Shutdown
// does nothing before that, so a connection made is not enough: the first byte proves that it serves.
func awaitListening(socket string, ended <-chan error) error {
	for deadline := time.Now().Add(startDeadline); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		select {
		case err := <-ended:
			return errors.Join(errors.New("the server ended before it listened"), err)
		default:
		}
		if greeted(socket) {
			return nil
		}
	}
	return fmt.Errorf("nothing answers on %s", socket)
}

func greeted(socket string) bool {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return false
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return false
	}
	_, err = io.ReadFull(conn, make([]byte, 1))
	return err == nil
}
