// Tests of a client with Go: `go test client_test.go`, with echod on PATH.
package client

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"testing"
	"time"
)

type listener struct {
	Service, Kind, URL string
}

// start runs echod until the end of the test, and returns its listeners. Its standard input is a pipe: echod also stops
// when the test program has crashed.
func start(t *testing.T, arguments ...string) []listener {
	t.Helper()
	echod := exec.Command("echod", append(arguments, "--announce", "json", "--until-eof")...)
	echod.Stderr = os.Stderr
	input, err := echod.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := echod.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := echod.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		input.Close()
		echod.Wait()
	})
	line, err := bufio.NewReader(output).ReadBytes('\n')
	if err != nil {
		t.Fatal("echod did not start: ", err)
	}
	var announcement struct{ Listeners []listener }
	if err := json.Unmarshal(line, &announcement); err != nil {
		t.Fatal(err)
	}
	return announcement.Listeners
}

func TestEverythingComesBack(t *testing.T) {
	address, err := url.Parse(start(t, "--listen", "echo=tcp://127.0.0.1:0")[0].URL)
	if err != nil {
		t.Fatal(err)
	}
	client, err := net.DialTimeout("tcp", address.Host, 30*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	client.Write([]byte("hello"))
	client.(*net.TCPConn).CloseWrite()
	if reply, err := io.ReadAll(client); err != nil || string(reply) != "hello" {
		t.Fatalf("%q, %v", reply, err)
	}
}
