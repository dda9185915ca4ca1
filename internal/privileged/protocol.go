package privileged

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
)

const (
	// maxMessage bounds one message; a manifest and a journal, encoded, are 30 KiB.
	maxMessage = 128 << 10
	// maxFiles is how many files come with a message.
	maxFiles = 3
)

// request asks for one command, for its end, or who uses mount points.
type request struct {
	ID      uint64   `json:"id"`
	Program string   `json:"program,omitempty"`
	Args    [][]byte `json:"args,omitempty"` // bytes: a property's value need not be text
	// Stdin, Stdout and Stderr say which files come along, in this order.
	Stdin  bool `json:"stdin,omitempty"`
	Stdout bool `json:"stdout,omitempty"`
	Stderr bool `json:"stderr,omitempty"`

	Cancel bool     `json:"cancel,omitempty"`
	Users  []string `json:"users,omitempty"`
}

func (r *request) files() int {
	n := 0
	for _, there := range []bool{r.Stdin, r.Stdout, r.Stderr} {
		if there {
			n++
		}
	}
	return n
}

// reply is the end of what the request of its id asked for.
type reply struct {
	ID   uint64 `json:"id"`
	Code int    `json:"code"` // -1 when there is none
	// Signal ended the program, Failed is why there was none, Refused why it was not
	// tried.
	Signal  string   `json:"signal,omitempty"`
	Failed  string   `json:"failed,omitempty"`
	Refused string   `json:"refused,omitempty"`
	Users   []string `json:"users,omitempty"`
}

// send writes one message. The socket keeps messages apart (SOCK_SEQPACKET).
func send(conn *net.UnixConn, v any, files ...*os.File) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if len(b) > maxMessage {
		return fmt.Errorf("a message of %d bytes: want at most %d", len(b), maxMessage)
	}
	var rights []byte
	if len(files) > 0 {
		fds := make([]int, len(files))
		for i, f := range files {
			fds[i] = int(f.Fd())
		}
		rights = syscall.UnixRights(fds...)
	}
	_, _, err = conn.WriteMsgUnix(b, rights, nil)
	return err
}

var errMessage = errors.New("a message that is not of the protocol")

// receiver reads messages, one after the other.
type receiver struct {
	conn *net.UnixConn
	b    []byte
	oob  []byte
}

func newReceiver(conn *net.UnixConn) *receiver {
	return &receiver{conn: conn, b: make([]byte, maxMessage+1), oob: make([]byte, syscall.CmsgSpace(maxFiles*4))}
}

// next reads one message into v, strictly, and returns the files that came with it.
func (r *receiver) next(v any) ([]*os.File, error) {
	n, oobn, flags, _, err := r.conn.ReadMsgUnix(r.b, r.oob)
	if err != nil {
		return nil, err
	}
	files, err := filesOf(r.oob[:oobn])
	if err == nil && (n > maxMessage || flags&(syscall.MSG_TRUNC|syscall.MSG_CTRUNC) != 0) {
		err = errMessage
	}
	if err == nil {
		d := json.NewDecoder(bytes.NewReader(r.b[:n]))
		d.DisallowUnknownFields()
		if err = d.Decode(v); err == nil {
			if _, more := d.Token(); !errors.Is(more, io.EOF) {
				err = errMessage
			}
		}
	}
	if err != nil {
		closeAll(files)
		return nil, fmt.Errorf("%w: %w", errMessage, err)
	}
	return files, nil
}

// filesOf takes every file out of a control message, so that each is closed by
// somebody. They are close-on-exec already (net, MSG_CMSG_CLOEXEC).
func filesOf(oob []byte) (files []*os.File, err error) {
	messages, err := syscall.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, err
	}
	for i := range messages {
		fds, err := syscall.ParseUnixRights(&messages[i])
		if err != nil {
			continue // something else than files
		}
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "passed"))
		}
	}
	return files, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close() // our copy of somebody else's file
	}
}
