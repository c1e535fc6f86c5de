package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
)

// bed holds what the command line gave and the plugins that several items share.
type bed struct {
	binary, work, fixture string

	mu      sync.Mutex
	started []*plugin
	shared  map[string]*plugin
}

// private makes a folder of that name that only we may enter.
func (b *bed) private(c *check, name string) string {
	dir := filepath.Join(b.work, name)
	c.must(os.Mkdir(dir, 0o700), "folder")
	return dir
}

// newDev prepares, without starting it, a plugin on a development keyring of its own.
func (b *bed) newDev(c *check, name string) *plugin {
	dir := b.private(c, name)
	socket := filepath.Join(dir, "kms.sock")
	return b.newPlugin(name, socket, "serve", "--dev", "--dir", dir, "--socket", socket)
}

// newDevOn prepares a plugin on a development keyring with this text.
func (b *bed) newDevOn(c *check, name, text string) *plugin {
	p := b.newDev(c, name)
	c.must(os.WriteFile(filepath.Join(filepath.Dir(p.socket), "keyring"), []byte(text), 0o600), "keyring file")
	return p
}

// kms is what a configuration file of ours differs in.
type kms struct{ v1, legacyClients bool }

// newConfigured makes a sealed keyring by `init` and prepares a plugin that serves it by a configuration file.
func (b *bed) newConfigured(ctx context.Context, c *check, name string, options kms) *plugin {
	dir := b.private(c, name)
	socket, config, key := filepath.Join(dir, "kms.sock"), filepath.Join(dir, "config.toml"), filepath.Join(dir, "seal.key")
	secret := make([]byte, 32)
	rand.Read(secret)
	c.must(os.WriteFile(key, secret, 0o600), "key file")
	text := fmt.Sprintf("keyring = %s\nstate_dir = %s\n[socket]\npath = %s\n[seal]\nkey_file = %s\n[kms]\nv1 = %t\nlegacy_clients = %t\n",
		strconv.Quote(filepath.Join(dir, "keyring")), strconv.Quote(b.private(c, filepath.Join(name, "state"))), strconv.Quote(socket), strconv.Quote(key), options.v1, options.legacyClients)
	c.must(os.WriteFile(config, []byte(text), 0o600), "configuration file")
	b.command(ctx, c, "init", "--config", config)
	return b.newPlugin(name, socket, "serve", "--config", config)
}

// plain is the development plugin that most items talk to.
func (b *bed) plain(ctx context.Context, c *check) *plugin {
	return b.share(ctx, c, "dev", func() *plugin { return b.newDev(c, "dev") })
}

// other is a development plugin with another keyring.
func (b *bed) other(ctx context.Context, c *check) *plugin {
	return b.share(ctx, c, "other", func() *plugin { return b.newDev(c, "other") })
}

// legacy serves KMS v1 too, and clients that send the socket path.
func (b *bed) legacy(ctx context.Context, c *check) *plugin {
	return b.share(ctx, c, "legacy", func() *plugin {
		return b.newConfigured(ctx, c, "legacy", kms{v1: true, legacyClients: true})
	})
}

// connect makes a client of the plugin that most items talk to.
func (b *bed) connect(ctx context.Context, c *check) *client {
	return dial(c, b.plain(ctx, c).socket, localhost)
}

// share starts the plugin at its first use and again if it has died, which checkStillThere has reported by then.
func (b *bed) share(ctx context.Context, c *check, name string, prepare func() *plugin) *plugin {
	b.mu.Lock()
	p := b.shared[name]
	b.mu.Unlock()
	if p == nil {
		p = prepare()
		b.mu.Lock()
		if b.shared == nil {
			b.shared = map[string]*plugin{}
		}
		b.shared[name] = p
		b.mu.Unlock()
	}
	if !p.running() {
		c.must(p.start(ctx), "start of the plugin")
	}
	return p
}

// checkStillThere fails an item after which a shared plugin is gone: none of them ends a shared one on purpose.
func (b *bed) checkStillThere(c *check) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for name, p := range b.shared {
		if p.wasStarted() && !p.running() && !p.reported {
			p.reported = true
			c.failf("the plugin %q died: %v, last line %q", name, p.exit(), p.log.last())
		}
	}
}

func (b *bed) killAll() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.started {
		p.kill()
	}
}
