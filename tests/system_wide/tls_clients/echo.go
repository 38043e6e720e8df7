// Sends standard input over TLS, half-closes, and prints the whole reply: echo PORT CA VERSION.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"os"
)

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func main() {
	pem, err := os.ReadFile(os.Args[2])
	check(err)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	version := map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}[os.Args[3]]
	config := &tls.Config{RootCAs: pool, MinVersion: version, MaxVersion: version}
	connection, err := tls.Dial("tcp", "localhost:"+os.Args[1], config)
	check(err)
	go func() {
		_, err := io.Copy(connection, os.Stdin)
		check(err)
		check(connection.CloseWrite())
	}()
	_, err = io.Copy(os.Stdout, connection)
	check(err)
}
