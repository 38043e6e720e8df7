// Connects over TLS to localhost, and prints "accepted" or the error: verify PORT CA.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log"
	"os"
)

func main() {
	pem, err := os.ReadFile(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	if _, err := tls.Dial("tcp", "localhost:"+os.Args[1], &tls.Config{RootCAs: pool}); err != nil {
		fmt.Println(err)
	} else {
		fmt.Println("accepted")
	}
}
