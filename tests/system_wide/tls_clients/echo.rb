# Sends standard input over TLS, and prints as many bytes of the reply: echo.rb PORT CA VERSION.
require "openssl"
require "socket"

port, ca, version = ARGV
context = OpenSSL::SSL::SSLContext.new
context.set_params(ca_file: ca, verify_mode: OpenSSL::SSL::VERIFY_PEER)
context.min_version = context.max_version = version == "1.2" ? OpenSSL::SSL::TLS1_2_VERSION : OpenSSL::SSL::TLS1_3_VERSION
socket = OpenSSL::SSL::SSLSocket.new(TCPSocket.new("127.0.0.1", port), context)
socket.sync_close = true
socket.hostname = "localhost"
socket.connect
socket.post_connection_check("localhost")
$stdout.binmode
data = $stdin.binmode.read
(0...data.bytesize).step(16384) do |at|
  piece = data.byteslice(at, 16384)
  socket.write(piece)
  $stdout.write(socket.read(piece.bytesize))
end
socket.close
