// Connects over TLS to localhost, and prints "accepted" or the error: verify.js PORT CA [CRL].
const fs = require("fs");
const tls = require("tls");

const [port, ca, crl] = process.argv.slice(2);
const options = { host: "localhost", port, ca: fs.readFileSync(ca), crl: crl && fs.readFileSync(crl) };
const socket = tls.connect(options, () => {
  console.log("accepted");
  socket.destroy();
});
socket.on("error", (error) => console.log(`${error.code}: ${error.message.split("\n")[0]}`));
