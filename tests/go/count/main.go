// count says what stands in etcd, by Kubernetes' own packages: an answer to hold the one of `keywright scan` against.
//
//	count ENDPOINT PREFIX
//
// One JSON object: for each resource prefix, kind of provider, provider name and key_id the number of keys. Nothing here is shared with what is
// tested: the values are taken apart as kube-apiserver does, with its prefixes and its message.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/proto"
	kmsv2 "k8s.io/apiserver/pkg/storage/value/encrypt/envelope/kmsv2/v2"
)

// The prefixes that pkg/server/options/encryptionconfig gives its transformers.
var providers = []struct{ prefix, kind string }{
	{"k8s:enc:aescbc:v1:", "aescbc"},
	{"k8s:enc:aesgcm:v1:", "aesgcm"},
	{"k8s:enc:secretbox:v1:", "secretbox"},
	{"k8s:enc:kms:v1:", "kms v1"},
	{"k8s:enc:kms:v2:", "kms v2"},
}

// Count is one line of the answer.
type Count struct {
	Resource string `json:"resource"`
	Kind     string `json:"kind"`
	Provider string `json:"provider"`
	KeyID    string `json:"key_id"`
	Objects  int    `json:"objects"`
}

func main() {
	if len(os.Args) != 3 {
		fail("usage: count ENDPOINT PREFIX")
	}
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{os.Args[1]}, DialTimeout: 10 * time.Second})
	if err != nil {
		fail("connect to etcd: %v", err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	counts := map[Count]int{}
	prefix := strings.TrimSuffix(os.Args[2], "/") + "/"
	from, end, revision := prefix, clientv3.GetPrefixRangeEnd(prefix), int64(0)
	for {
		answer, err := client.Get(ctx, from, clientv3.WithRange(end), clientv3.WithLimit(500), clientv3.WithRev(revision))
		if err != nil {
			fail("read from %s: %v", from, err)
		}
		revision = answer.Header.Revision
		for _, kv := range answer.Kvs {
			kind, provider, keyID := whatIs(kv.Value)
			counts[Count{Resource: resource(strings.TrimPrefix(string(kv.Key), prefix)), Kind: kind, Provider: provider, KeyID: keyID}]++
		}
		if !answer.More {
			break
		}
		from = string(answer.Kvs[len(answer.Kvs)-1].Key) + "\x00"
	}
	lines := []Count{}
	for line, objects := range counts {
		line.Objects = objects
		lines = append(lines, line)
	}
	if err := json.NewEncoder(os.Stdout).Encode(map[string]any{"revision": revision, "counts": lines}); err != nil {
		fail("print the answer: %v", err)
	}
}

// resource is the part of a key that says what is stored there: two parts where the first is the group of a custom resource.
func resource(key string) string {
	parts := strings.Split(key, "/")
	if len(parts) > 2 && parts[0] == "services" {
		// Services and Endpoints share a folder: services/specs and services/endpoints (pkg/kubeapiserver of kubernetes/kubernetes).
		return map[string]string{"specs": "services", "endpoints": "endpoints"}[parts[1]]
	}
	if len(parts) > 2 && strings.Contains(parts[0], ".") {
		return parts[1] + "." + parts[0]
	}
	return parts[0]
}

func whatIs(value []byte) (kind, provider, keyID string) {
	for _, known := range providers {
		rest, found := bytes.CutPrefix(value, []byte(known.prefix))
		if !found {
			continue
		}
		name, body, found := bytes.Cut(rest, []byte(":"))
		if !found {
			return "unreadable", "", ""
		}
		if known.kind != "kms v2" {
			return known.kind, string(name), ""
		}
		object := &kmsv2.EncryptedObject{}
		if err := proto.Unmarshal(body, object); err != nil {
			return "unreadable", "", ""
		}
		return known.kind, string(name), object.KeyID
	}
	if bytes.HasPrefix(value, []byte("k8s:enc:")) {
		return "unknown", "", ""
	}
	return "identity", "", ""
}

func fail(format string, arguments ...any) {
	fmt.Fprintf(os.Stderr, "count: "+format+"\n", arguments...)
	os.Exit(1)
}
