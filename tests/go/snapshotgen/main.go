// Command snapshotgen writes a database as etcd would have after many writes, with etcd's own packages: what the snapshot reader is measured
// and checked against. The same arguments give the same bytes.
//
// It prints what it put there, as one line of JSON, counted while it wrote.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
)

func main() {
	var p plan
	out := flag.String("out", "", "file to write; nothing may be there yet")
	flag.IntVar(&p.values, "values", 1_000_000, "revisions with a value")
	flag.IntVar(&p.history, "history", 10, "percentage of them that overwrite an older value of their key")
	flag.IntVar(&p.deletions, "deletions", 1, "percentage of keys that are deleted at the end")
	flag.IntVar(&p.size, "size", 800, "bytes of a value, about")
	flag.IntVar(&p.pageSize, "page-size", 4096, "bytes of a page")
	flag.Uint64Var(&p.seed, "seed", 1, "of everything that looks random")
	flag.Parse()
	if *out == "" || flag.NArg() != 0 || p.values < 1 {
		flag.Usage()
		os.Exit(2)
	}
	made, err := write(*out, p)
	if err != nil {
		fmt.Fprintln(os.Stderr, "snapshotgen:", err)
		os.Exit(1)
	}
	if err := json.NewEncoder(os.Stdout).Encode(made); err != nil {
		fmt.Fprintln(os.Stderr, "snapshotgen:", err)
		os.Exit(1)
	}
}
