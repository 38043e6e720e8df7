// The try-it page: sends text or bytes, and shows each message with its direction, time, size and type.

const SHOWN = 4096; // bytes or characters of a message that are shown
const SAMPLES = 1000; // round-trip times whose median is shown
const ANSWERS = new Set(["echo", "upper", "ack"]); // kinds with one reply to each message

const kind = document.body.dataset.kind;
const form = byId("composer");
const sendsOnce = form.hidden; // a kind that sends once, and reads nothing
const message = byId("message");
const log = new Log(sendsOnce);
let sentAt = []; // when the messages without a reply were sent
let trips = [];
let totals = { sent: [0, 0], received: [0, 0] };
let queued = null; // a message that waits for the connection

const connection = new Connection({ opened, received, closed }, sendsOnce ? "ask" : "connect");

function opened(text) {
  sentAt = [];
  trips = [];
  totals = { sent: [0, 0], received: [0, 0] };
  showTotals();
  log.follow();
  addEvent(text);
  if (queued !== null) send(queued);
  queued = null;
}

function received(data) {
  const now = performance.now();
  const began = ANSWERS.has(kind) ? sentAt.shift() : undefined;
  const trip = began === undefined ? null : now - began;
  if (trip !== null) trips = [...trips.slice(1 - SAMPLES), trip];
  count("received", data);
  addMessage("received", data, trip);
}

function closed(text, wasOpen) {
  addEvent(text);
  if (queued === null) return;
  if (wasOpen) return connection.open(); // it was closing when the message was entered
  queued = null;
  complain(words.not_sent);
}

function send(data) {
  if (ANSWERS.has(kind)) sentAt.push(performance.now());
  connection.socket.send(data);
  count("sent", data);
  addMessage("sent", data, null);
}

const bytesOf = (data) => (typeof data === "string" ? utf8.encode(data).length : data.byteLength);

function count(direction, data) {
  totals[direction][0] += 1;
  totals[direction][1] += bytesOf(data);
  showTotals();
}

function showTotals() {
  for (const direction of ["sent", "received"]) {
    const [messages, bytes] = totals[direction];
    byId(`total-${direction}`).textContent = `${number.format(messages)} · ${sized(bytes)}`;
  }
  const sorted = [...trips].sort((a, b) => a - b);
  byId("last").textContent = trips.length ? duration(trips.at(-1)) : "–";
  byId("median").textContent = trips.length ? duration(sorted[sorted.length >> 1]) : "–";
}

// the lines of the log

function row(direction, content, facts) {
  const now = new Date();
  const item = element("li", direction);
  const time = element("time", "", timeOfDay(now));
  time.dateTime = now.toISOString();
  const way = element("span", "way");
  const arrow = element("span", "", { sent: "→", received: "←", event: "·" }[direction]);
  arrow.ariaHidden = "true";
  way.append(arrow, element("span", "aloud", words[direction]));
  const about = element("span", "facts");
  for (const fact of facts) about.append(element("span", "", fact), " ");
  about.hidden = facts.length === 0;
  item.append(time, " ", way, " ", content, " ", about);
  log.add(item);
}

function addEvent(text) {
  row("event", element("span", "content", text), []);
}

function addMessage(direction, data, trip) {
  const isText = typeof data === "string";
  const size = bytesOf(data);
  const content = element("div", "content");
  content.dir = "ltr";
  if (size === 0) content.append(element("span", "note", words.empty_message));
  else if (kind === "whoami" && direction === "received") showFields(content, data);
  else if (isText) showText(content, data);
  else showBytes(content, new Uint8Array(data));
  const facts = [isText ? words.text : words.binary, sized(size)];
  if (trip !== null) facts.push(duration(trip));
  row(direction, content, facts);
}

function showText(content, text) {
  // Do not cut between the two halves of a surrogate pair.
  const cut = text.length > SHOWN && /[\ud800-\udbff]/.test(text[SHOWN - 1]) ? SHOWN - 1 : SHOWN;
  appendEscaped(content, text.slice(0, cut));
  more(content, bytesOf(text.slice(cut)));
}

/** The names and values of an object. A member of an inner object has the names of both. */
function* fieldsOf(object, prefix = "") {
  for (const [name, value] of Object.entries(object)) {
    const isObject = value !== null && typeof value === "object" && !Array.isArray(value);
    if (isObject && prefix.length < 100) yield* fieldsOf(value, `${prefix}${name}.`);
    else yield [prefix + name, value];
  }
}

/** A line of JSON as a list of its names and values; any other text as it is. */
function showFields(content, text) {
  let fields;
  try {
    fields = [...fieldsOf(JSON.parse(text))];
  } catch {
    return showText(content, text);
  }
  const list = element("dl", "fields");
  for (const [name, value] of fields) {
    const shown = typeof value === "string" ? value : JSON.stringify(value);
    const pair = element("div");
    pair.append(element("dt", "", oneLine(name)), element("dd", "", oneLine(shown)));
    list.append(pair);
  }
  content.append(list);
}

/** Bytes in hexadecimal, in groups of eight. */
function showBytes(content, bytes) {
  const digits = Array.from(bytes.subarray(0, SHOWN), (byte) => byte.toString(16).padStart(2, "0"));
  const groups = [];
  for (let at = 0; at < digits.length; at += 8) groups.push(digits.slice(at, at + 8).join(" "));
  content.append(groups.join("  "));
  content.classList.add("hex");
  more(content, bytes.length - digits.length);
}

function more(content, rest) {
  if (rest > 0) content.append(" ", element("span", "note", worded("truncated", { count: number.format(rest) })));
}

// the form

const chosen = (name) => new FormData(form).get(name);

/** The bytes of hexadecimal text, or null. Spaces, colons and 0x are ignored. */
function parsedHex(text) {
  const digits = text.replace(/0x|[\s:,]/gi, "");
  if (digits.length % 2 || /[^0-9a-f]/i.test(digits)) return null;
  return Uint8Array.from(digits.match(/../g) ?? [], (pair) => parseInt(pair, 16));
}

/** Show an error, and send nothing. */
function refused(text) {
  complain(text);
  return null;
}

/** The data to send, or null after an error was shown. */
function composed() {
  const binary = chosen("type") === "binary";
  if (chosen("input") === "text") return binary ? utf8.encode(message.value) : message.value;
  const bytes = parsedHex(message.value);
  if (bytes === null) return refused(words.bad_hex);
  if (binary) return bytes;
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return refused(words.bad_utf8);
  }
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  complain("");
  const data = composed();
  if (data === null) return;
  if (connection.isOpen) {
    send(data);
  } else {
    queued = data;
    if (connection.socket === null) connection.open();
  }
  message.focus();
  message.select();
});

message.addEventListener("keydown", (event) => {
  // Enter that ends the composition of a character by an input method does not send.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
  event.preventDefault();
  form.requestSubmit();
});

form.addEventListener("change", () => {
  complain("");
  byId("hint").textContent = words[chosen("input") === "hex" ? "hex_hint" : "message_hint"];
  message.classList.toggle("hex", chosen("input") === "hex");
});

byId("clear").addEventListener("click", () => log.clear());

if (sendsOnce) byId("empty").textContent = words.empty_ask;
showTotals();
connection.open();
