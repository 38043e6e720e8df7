// Sends standard input over TLS, half-closes, and prints the whole reply: echo.js PORT CA VERSION.
const fs = require("fs");
const tls = require("tls");

const [port, ca, version] = process.argv.slice(2);
const options = {
  host: "localhost",
  port,
  ca: fs.readFileSync(ca),
  allowHalfOpen: true,
  minVersion: `TLSv${version}`,
  maxVersion: `TLSv${version}`,
};
const socket = tls.connect(options, () => socket.end(fs.readFileSync(0)));
socket.pipe(process.stdout);
socket.on("error", (error) => {
  console.error(error.message);
  process.exit(1);
});
