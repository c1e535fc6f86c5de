package main

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// startDeadline bounds the wait for the line that says ready, and every command of the plugin that is to end by itself.
const startDeadline = 15 * time.Second

// plugin is one plugin process after another with the same arguments.
type plugin struct {
	bed      *bed
	name     string
	socket   string
	args     []string
	log      *logLines
	reported bool

	cmd    *exec.Cmd
	exited chan struct{}
}

func (b *bed) newPlugin(name, socket string, args ...string) *plugin {
	return &plugin{bed: b, name: name, socket: socket, args: args, log: newLogLines()}
}

// start starts the process and returns when it has logged that it is ready.
func (p *plugin) start(ctx context.Context) error {
	from := p.log.len()
	if err := p.launch(); err != nil {
		return err
	}
	_, err := p.awaitLine(ctx, from, saysReady)
	if err != nil {
		return fmt.Errorf("%s is not ready: %w; last line %q", p.name, err, p.log.last())
	}
	return nil
}

// saysReady tells the line after which every call is answered.
func saysReady(line string) bool { return strings.Contains(line, " INFO ready ") }

// launch starts the process and waits for nothing.
func (p *plugin) launch() error {
	cmd := exec.Command(p.bed.binary, p.args...)
	// The plugin ends with us, however we end.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Stderr = p.log
	// Were stderr held open by a child of it, the end of the plugin must be noticed all the same.
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		return err
	}
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		// This also waits until the last line is in the log. Its error is the exit status, which the process state has too.
		_ = cmd.Wait()
	}()
	p.cmd, p.exited, p.reported = cmd, exited, false
	p.bed.mu.Lock()
	p.bed.started = append(p.bed.started, p)
	p.bed.mu.Unlock()
	return nil
}

func (p *plugin) wasStarted() bool { return p.cmd != nil }

func (p *plugin) running() bool {
	if p.cmd == nil {
		return false
	}
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// exit tells how the process ended, once it has.
func (p *plugin) exit() string { return p.cmd.ProcessState.String() }

// kill ends the process as a power cut would, and waits until it is gone.
func (p *plugin) kill() {
	if p.running() {
		// It may end by itself between the two lines; then there is nothing left to kill.
		_ = p.cmd.Process.Kill()
		<-p.exited
	}
}

// terminate asks the process to end.
func (p *plugin) terminate() error { return p.cmd.Process.Signal(syscall.SIGTERM) }

// awaitExit returns the exit code once the process has ended by itself.
func (p *plugin) awaitExit(ctx context.Context) (int, error) {
	select {
	case <-p.exited:
		return p.cmd.ProcessState.ExitCode(), nil
	case <-ctx.Done():
		return 0, fmt.Errorf("%s still runs: %w", p.name, ctx.Err())
	}
}

// awaitLine returns the first line at or after number `from` that `wanted` accepts.
func (p *plugin) awaitLine(ctx context.Context, from int, wanted func(string) bool) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, startDeadline)
	defer cancel()
	for ended := false; ; {
		line, more := p.log.find(from, wanted)
		if more == nil {
			return line, nil
		}
		if ended {
			return "", fmt.Errorf("the process ended: %s", p.exit())
		}
		select {
		case <-more:
		case <-p.exited:
			// What it wrote last is read by now: look once more.
			ended = true
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
}

// command runs a command of the plugin that ends by itself and must succeed.
func (b *bed) command(ctx context.Context, c *check, args ...string) {
	ctx, cancel := context.WithTimeout(ctx, startDeadline)
	defer cancel()
	output, err := exec.CommandContext(ctx, b.binary, args...).CombinedOutput()
	if err != nil {
		c.stopf("%s: %v: %s", strings.Join(args, " "), err, bytes.TrimSpace(output))
	}
}

// logLines is what the processes of one plugin have written to stderr so far.
type logLines struct {
	mu    sync.Mutex
	lines []string
	torn  []byte
	grown chan struct{}
}

func newLogLines() *logLines { return &logLines{grown: make(chan struct{})} }

// Write implements io.Writer for the process's stderr. What comes without an end of line waits for it.
func (l *logLines) Write(bytes []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.torn = append(l.torn, bytes...)
	whole := strings.Split(string(l.torn), "\n")
	l.torn = []byte(whole[len(whole)-1])
	l.lines = append(l.lines, whole[:len(whole)-1]...)
	close(l.grown)
	l.grown = make(chan struct{})
	return len(bytes), nil
}

// find returns the first line from number `from` that `wanted` accepts, or a channel that is closed when there is more to search.
func (l *logLines) find(from int, wanted func(string) bool) (string, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.lines[from:] {
		if wanted(line) {
			return line, nil
		}
	}
	return "", l.grown
}

// since returns the lines from number `from`.
func (l *logLines) since(from int) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string{}, l.lines[from:]...)
}

func (l *logLines) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.lines)
}

func (l *logLines) last() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.lines) == 0 {
		return ""
	}
	return l.lines[len(l.lines)-1]
}
