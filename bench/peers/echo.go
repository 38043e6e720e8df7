// Go: one goroutine per connection.
//
//	echo HOST PORT [upper] [udp]        echo unix PATH [upper]
//
// io.Copy between the halves is not used: it splices, which costs two more descriptors per idle connection.
package main

import (
	"fmt"
	"net"
	"os"
)

func upper(bytes []byte) {
	for i, c := range bytes {
		if 'a' <= c && c <= 'z' {
			bytes[i] = c - 32
		}
	}
}

func serve(conn net.Conn, change bool) {
	defer conn.Close()
	buffer := make([]byte, 65536)
	for {
		n, err := conn.Read(buffer)
		if err != nil {
			return
		}
		if change {
			upper(buffer[:n])
		}
		if _, err := conn.Write(buffer[:n]); err != nil {
			return
		}
	}
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	host, port := os.Args[1], os.Args[2]
	word := ""
	if len(os.Args) > 3 {
		word = os.Args[3]
	}
	if word == "udp" {
		at, err := net.ResolveUDPAddr("udp4", host+":"+port)
		check(err)
		conn, err := net.ListenUDP("udp4", at)
		check(err)
		fmt.Println("ready")
		buffer := make([]byte, 65536)
		for {
			n, peer, err := conn.ReadFromUDPAddrPort(buffer)
			if err == nil {
				conn.WriteToUDPAddrPort(buffer[:n], peer)
			}
		}
	}
	network, at := "tcp4", host+":"+port
	if host == "unix" {
		network, at = "unix", port
	}
	listener, err := net.Listen(network, at)
	check(err)
	fmt.Println("ready")
	for {
		conn, err := listener.Accept()
		if err == nil {
			go serve(conn, word == "upper")
		}
	}
}
