// Connects over TLS to localhost, and prints "accepted" or the error: verify PORT CA.
use std::io::{BufReader, Write};
use std::net::TcpStream;
use std::sync::Arc;

fn main() {
    let words: Vec<String> = std::env::args().collect();
    let mut file = BufReader::new(std::fs::File::open(&words[2]).unwrap());
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(&rustls_pemfile::certs(&mut file).unwrap());
    let config = rustls::ClientConfig::builder()
        .with_safe_defaults()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = "localhost".try_into().unwrap();
    let mut connection = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut socket = TcpStream::connect(format!("localhost:{}", words[1])).unwrap();
    match rustls::Stream::new(&mut connection, &mut socket).write_all(b"hello\n") {
        Ok(()) => println!("accepted"),
        Err(error) => println!("{}", error),
    }
}
