package main

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"

	bolt "go.etcd.io/bbolt"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"
)

// plan says what to write.
type plan struct {
	values, history, deletions, size, pageSize int
	seed                                       uint64
}

// count is what was written, as a reader must find it.
type count struct {
	Revision        int64 `json:"revision"`
	Keys            int   `json:"keys"`
	Bytes           int   `json:"bytes"`
	Superseded      int   `json:"superseded"`
	SupersededBytes int   `json:"superseded_bytes"`
	Tombstones      int   `json:"tombstones"`
}

// object is one key of the store and the state of its newest value.
type object struct {
	created, version int64
	size             int
}

// batch is how many changes etcd itself commits at once.
const batch = 10_000

// buckets are those that etcd makes at its first start.
var buckets = []string{"alarm", "auth", "authRoles", "authUsers", "cluster", "key", "lease", "members", "members_removed", "meta"}

type writer struct {
	db       *bolt.DB
	tx       *bolt.Tx
	pending  int
	revision int64
	made     count
}

func write(path string, p plan) (count, error) {
	if _, err := os.Lstat(path); err == nil {
		return count{}, fmt.Errorf("%s exists already", path)
	}
	// As etcd opens it on Linux; without syncing, for nothing here must outlive a power cut.
	options := &bolt.Options{PageSize: p.pageSize, NoFreelistSync: true, FreelistType: bolt.FreelistMapType, NoSync: true}
	db, err := bolt.Open(path, 0o600, options)
	if err != nil {
		return count{}, err
	}
	defer db.Close()
	w := &writer{db: db, revision: 1}
	if err := w.about(); err != nil {
		return count{}, err
	}
	if err := w.objects(p); err != nil {
		return count{}, err
	}
	w.made.Revision = w.revision
	return w.made, db.Close()
}

// about fills the buckets that say something about the cluster.
func (w *writer) about() error {
	return w.db.Update(func(tx *bolt.Tx) error {
		for _, name := range buckets {
			if _, err := tx.CreateBucketIfNotExists([]byte(name)); err != nil {
				return err
			}
		}
		index := binary.BigEndian.AppendUint64(nil, 4)
		if err := tx.Bucket([]byte("meta")).Put([]byte("consistent_index"), index); err != nil {
			return err
		}
		if err := tx.Bucket([]byte("cluster")).Put([]byte("clusterVersion"), []byte("3.7.0")); err != nil {
			return err
		}
		member := `{"id":10276657743932975437,"peerURLs":["http://localhost:2380"],"name":"default"}`
		return tx.Bucket([]byte("members")).Put([]byte("8e9e05c52164694d"), []byte(member))
	})
}

// objects writes p.values values: new keys, with overwrites of older ones spread among them; then it deletes some.
func (w *writer) objects(p plan) error {
	var seed [32]byte
	binary.LittleEndian.PutUint64(seed[:], p.seed)
	source := rand.NewChaCha8(seed)
	random := rand.New(source)
	var objects []object
	for range p.values {
		at := len(objects)
		if at > 0 && random.IntN(100) < p.history {
			at = random.IntN(len(objects))
			w.made.Superseded++
			w.made.SupersededBytes += objects[at].size
		} else {
			objects = append(objects, object{created: w.revision + 1})
			w.made.Keys++
		}
		value, err := kmsValue(source, p.size-32+random.IntN(64))
		if err != nil {
			return err
		}
		o := &objects[at]
		w.made.Bytes += len(value) - o.size
		o.size = len(value)
		o.version++
		kv := &mvccpb.KeyValue{Key: key(at), CreateRevision: o.created, ModRevision: w.revision + 1, Version: o.version, Value: value}
		if err := w.put(kv, false); err != nil {
			return err
		}
	}
	for at := range objects {
		if random.IntN(100) < p.deletions {
			w.made.Keys--
			w.made.Bytes -= objects[at].size
			w.made.Superseded++
			w.made.SupersededBytes += objects[at].size
			w.made.Tombstones++
			if err := w.put(&mvccpb.KeyValue{Key: key(at)}, true); err != nil {
				return err
			}
		}
	}
	return w.commit()
}

// key is the name of a Secret as an API server stores it.
func key(at int) []byte {
	return fmt.Appendf(nil, "/registry/secrets/namespace-%d/secret-%07d", at%100, at)
}

// put stores a change at the next revision.
func (w *writer) put(kv *mvccpb.KeyValue, tombstone bool) error {
	message, err := proto.Marshal(kv)
	if err != nil {
		return err
	}
	w.revision++
	at := binary.BigEndian.AppendUint64(nil, uint64(w.revision))
	at = append(at, '_')
	at = binary.BigEndian.AppendUint64(at, 0)
	if tombstone {
		at = append(at, 't')
	}
	if w.tx == nil {
		if w.tx, err = w.db.Begin(true); err != nil {
			return err
		}
	}
	bucket := w.tx.Bucket([]byte("key"))
	bucket.FillPercent = 0.9 // as etcd sets it, for keys that only grow
	if err := bucket.Put(at, message); err != nil {
		return err
	}
	if w.pending++; w.pending == batch {
		return w.commit()
	}
	return nil
}

func (w *writer) commit() error {
	if w.tx == nil {
		return nil
	}
	err := w.tx.Commit()
	w.tx, w.pending = nil, 0
	return err
}
