// Sends messages to an echo service with the package `ws` of Node.js, and prints a line of JSON about the replies.
// Arguments: the URL, and a subprotocol or an empty string.
const WebSocket = require("ws");

const [url, subprotocol] = process.argv.slice(2);
const sent = ["Hello ✓", Buffer.from(Array.from({ length: 256 }, (_, n) => n)), "", Buffer.alloc(1 << 20, "ab")];
const socket = new WebSocket(url, subprotocol ? [subprotocol] : [], { perMessageDeflate: true });
const report = { same: 0, types: 0, pong: "", subprotocol: null, extensions: "" };
let next = 0;

socket.on("open", () => {
  report.subprotocol = socket.protocol;
  report.extensions = socket.extensions;
  sent.forEach((message) => socket.send(message));
  socket.ping("are you there?");
});
socket.on("pong", (data) => { report.pong = data.toString(); });
socket.on("message", (data, isBinary) => {
  const expected = sent[next];
  report.same += Buffer.compare(Buffer.from(expected), data) === 0;
  report.types += isBinary === (typeof expected !== "string");
  next += 1;
  if (next === sent.length) socket.close(1000, "done");
});
socket.on("error", (error) => { report.error = String(error); });
socket.on("close", (code) => console.log(JSON.stringify({ ...report, code })));
