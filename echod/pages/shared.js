// The parts that the try-it page and the chat page share: words, escaping, the list of lines, the connection.
// Messages reach the document as text nodes only.

const byId = (id) => document.getElementById(id);
const words = JSON.parse(byId("words").textContent);

/** The words of a key, with its {names} replaced. */
function worded(key, values = {}) {
  return words[key].replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

const number = new Intl.NumberFormat(document.documentElement.lang);
const sized = (bytes) => worded("bytes", { count: number.format(bytes) });
const utf8 = new TextEncoder();

/** Milliseconds with three significant digits, as text. */
function duration(milliseconds) {
  const digits = milliseconds < 1 ? 3 : milliseconds < 10 ? 2 : milliseconds < 100 ? 1 : 0;
  return milliseconds < 10_000 ? `${milliseconds.toFixed(digits)}\u00a0ms` : `${(milliseconds / 1000).toFixed(1)}\u00a0s`;
}

/** The local time of day, with milliseconds. */
function timeOfDay(date) {
  const two = (value) => String(value).padStart(2, "0");
  const time = [date.getHours(), date.getMinutes(), date.getSeconds()].map(two).join(":");
  return `${time}.${String(date.getMilliseconds()).padStart(3, "0")}`;
}

/** An element with a class and text. */
function element(tag, name, text = "") {
  const made = document.createElement(tag);
  if (name) made.className = name;
  if (text) made.textContent = text;
  return made;
}

// Controls, format and private characters, lone surrogates and line separators: they hide, move or reorder text.
// The joiner of emoji (U+200D) is shown as it is.
const HIDDEN = /(?!\u200d)[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Zl}\p{Zp}]/gu;
const SHORT = { "\n": "\\n", "\r": "\\r", "\t": "\\t" };

function escapeOf(character) {
  const code = character.codePointAt(0);
  const hex = code.toString(16).padStart(2, "0");
  return SHORT[character] ?? (code < 0x100 ? `\\x${hex}` : `\\u{${hex}}`);
}

/** Text on one line, with hidden characters escaped. */
const oneLine = (text) => text.replace(HIDDEN, escapeOf);

/** Append text to an element. Hidden characters are escaped and marked; a line end is also shown as one. */
function appendEscaped(target, text) {
  let from = 0;
  for (const match of text.matchAll(HIDDEN)) {
    target.append(text.slice(from, match.index), element("span", "control", escapeOf(match[0])));
    from = match.index + match[0].length;
    if (match[0] === "\n" && from < text.length) target.append("\n");
  }
  target.append(text.slice(from));
}

/** A list of the last lines, which follows its end unless the reader has scrolled up. */
class Log {
  static MOST = 500;

  /** With `keepsStart`, new lines that are higher than the box are shown from their start. */
  constructor(keepsStart = false) {
    this.keepsStart = keepsStart;
    this.box = byId("log");
    this.list = byId("lines");
    this.waiting = [];
    this.dropped = 0;
    this.scheduled = false;
    byId("newest").addEventListener("click", () => this.follow());
    this.box.addEventListener("scroll", () => this.showButton(), { passive: true });
    addEventListener("resize", () => this.atEnd && this.follow());
    this.atEnd = true;
  }

  /** Add a line, before the next frame is painted. A hidden page paints no frames; the number that waits is bounded. */
  add(item) {
    this.waiting.push(item);
    if (this.waiting.length > Log.MOST) {
      this.waiting.shift();
      this.dropped += 1;
    }
    if (!this.scheduled) {
      this.scheduled = true;
      requestAnimationFrame(() => this.paint());
    }
  }

  paint() {
    this.scheduled = false;
    const follows = this.atEnd;
    const first = this.waiting[0];
    this.list.append(...this.waiting);
    this.waiting = [];
    while (this.list.children.length > Log.MOST) {
      this.list.firstElementChild.remove();
      this.dropped += 1;
    }
    byId("empty").hidden = this.list.children.length > 0;
    byId("dropped").hidden = this.dropped === 0;
    byId("dropped").textContent = worded("dropped", { count: number.format(this.dropped) });
    if (follows) this.follow();
    if (follows && first && this.keepsStart) {
      this.box.scrollTop = Math.min(this.box.scrollTop, first.offsetTop - this.list.offsetTop);
    }
    this.showButton();
  }

  clear() {
    this.list.replaceChildren();
    this.waiting = [];
    this.dropped = 0;
    this.atEnd = true;
    this.paint();
  }

  follow() {
    this.box.scrollTop = this.box.scrollHeight;
    this.atEnd = true;
  }

  showButton() {
    this.atEnd = this.box.scrollHeight - this.box.scrollTop - this.box.clientHeight < 40;
    byId("newest").hidden = this.atEnd;
  }
}

/** The WebSocket connection to the path of this page, with its state on the page. */
class Connection {
  /**
   * `on` has the functions opened(text), received(data) and closed(text, wasOpen). `again` is the button's word for
   * connecting.
   */
  constructor(on, again) {
    this.on = on;
    this.again = again;
    this.socket = null;
    byId("toggle").addEventListener("click", () => this.toggle());
    this.show("closed");
  }

  get isOpen() {
    return this.socket?.readyState === WebSocket.OPEN;
  }

  toggle() {
    if (this.socket) this.close();
    else this.open();
  }

  open() {
    const url = `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${location.pathname}`;
    const began = performance.now();
    const socket = new WebSocket(url);
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    this.show("connecting");
    let wasOpen = false;
    socket.addEventListener("open", () => {
      wasOpen = true;
      const subprotocol = oneLine(socket.protocol);
      const values = { url, time: duration(performance.now() - began), subprotocol };
      this.show("open");
      this.on.opened(worded(subprotocol ? "opened_with" : "opened_in", values));
    });
    socket.addEventListener("message", (event) => this.on.received(event.data));
    socket.addEventListener("close", (event) => {
      this.socket = null;
      const meaning = words[`code_${event.code}`] ?? words.code_other;
      const values = { code: event.code, meaning, reason: oneLine(event.reason) };
      this.show("closed", event.code);
      this.on.closed(worded(event.reason ? "closed_because" : "closed_with", values).trim(), wasOpen);
    });
  }

  close() {
    this.show("closing");
    this.socket.close(1000);
  }

  show(state, code = "") {
    byId("state").dataset.state = state;
    byId("state").textContent = code ? worded("with_code", { state: words[state], code }) : words[state];
    const button = byId("toggle");
    button.textContent = state === "closed" ? words[this.again] : words.disconnect;
    button.disabled = state === "closing";
  }
}

// Of a list that is wider than the screen, show the part with this page.
document.querySelector(".services [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });

/** Show an error at the message, or remove it with an empty text. */
function complain(text) {
  byId("error").textContent = text;
  byId("message").setAttribute("aria-invalid", text ? "true" : "false");
}
