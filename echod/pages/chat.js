// The chat page: a member of the room like any other. Lines that begin with `--` come from the service; names cannot.

const LONGEST = 4096; // bytes of a line that the service accepts
const WAIT = 1000; // milliseconds after a notice until the list of members is asked for

const form = byId("composer");
const message = byId("message");
const log = new Log();
let nick = "";
let chosen = {}; // the commands that chose the name and the room of the reader, for the next connection
let room = "";
let asked = []; // for each /who without a reply: whether the reader typed it
let timer = 0;

const connection = new Connection({ opened, received, closed }, "reconnect");

function opened(text) {
  asked = [];
  add("notice", text);
  for (const command of Object.values(chosen)) connection.socket.send(command);
  ask();
}

function closed(text) {
  clearTimeout(timer);
  showMembers([]);
  add("notice", text);
}

/** A message has one line, or several that the service sent together. */
function received(data) {
  const text = typeof data === "string" ? data : new TextDecoder().decode(data);
  for (const line of text.replace(/\r?\n$/, "").split(/\r?\n/)) receivedLine(line);
}

function receivedLine(line) {
  if (!line.startsWith("-- ")) {
    const action = line.startsWith("* ");
    const split = action ? -1 : line.indexOf(": ");
    if (action) add("action", line);
    else if (split < 0) add("", line);
    else add("", line.slice(split + 2), line.slice(0, split));
    return;
  }
  const notice = line.slice(3);
  const list = /^in (\S+): (.+)$/.exec(notice);
  if (list && asked.length) {
    room = list[1];
    showMembers(list[2].split(", "));
    if (!asked.shift()) return;
  }
  if (/^(?:not sent|too fast)/.test(notice)) asked = []; // a /who may be one of the lines that were refused
  const named = /^(?:welcome: you are|you are now) ([^\s,;]+)/.exec(notice);
  if (named) {
    nick = named[1];
    byId("nick").value = nick;
    ask();
  } else if (/^you are in |^\S+ has (?:joined|left)$|^\S+ is now \S+$|^\d+ more have joined/.test(notice)) {
    ask();
  }
  add("notice", notice);
}

/** Ask for the members a little later, once for several notices. */
function ask() {
  clearTimeout(timer);
  timer = setTimeout(() => sendWho(false), WAIT);
}

function sendWho(typed) {
  if (!connection.isOpen) return;
  asked.push(typed);
  connection.socket.send("/who");
}

function showMembers(names) {
  byId("room").textContent = names.length ? worded("in_room", { room: oneLine(room) }) : "";
  byId("members").replaceChildren(
    ...names.map((name) => {
      const item = element("li", "", oneLine(name));
      if (name === nick) item.append(" ", element("span", "note", worded("you")));
      return item;
    }),
  );
}

function add(style, text, name = "") {
  const now = new Date();
  const item = element("li", style);
  const time = element("time", "", timeOfDay(now).slice(0, 5));
  time.dateTime = now.toISOString();
  const content = element("span", "content");
  content.dir = "auto";
  appendEscaped(content, text);
  const body = element("div");
  if (name) body.append(element("b", "", oneLine(name)), " ");
  body.append(content);
  item.append(time, " ", body);
  log.add(item);
}

/** Send a line, and show it: the service sends it to the other members only. Returns whether it was sent. */
function say(line) {
  const bytes = utf8.encode(line).length;
  if (bytes > LONGEST) {
    complain(worded("too_long", { limit: number.format(LONGEST), count: number.format(bytes) }));
    return false;
  }
  if (!connection.isOpen) {
    complain(words.not_sent);
    return false;
  }
  if (line === "/who") {
    sendWho(true);
    return true;
  }
  connection.socket.send(line);
  if (line.startsWith("/me ")) add("action own", `* ${nick} ${line.slice(4)}`);
  else if (line.startsWith("//")) add("own", line.slice(1), nick);
  else if (!line.startsWith("/")) add("own", line, nick);
  else add("command", line);
  const choice = /^\/(nick|join) +\S+$/.exec(line);
  if (choice) chosen[choice[1]] = line;
  return true;
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  complain("");
  const line = message.value.trim();
  if (line && say(line)) message.value = "";
  message.focus();
});

byId("rename").addEventListener("submit", (event) => {
  event.preventDefault();
  complain("");
  const name = byId("nick").value.trim();
  if (name && name !== nick) say(`/nick ${name}`);
});

byId("who").addEventListener("click", () => sendWho(false));

// On a narrow screen the members and commands are shown on demand.
byId("panel").addEventListener("click", () => {
  const shown = byId("side").classList.toggle("shown");
  byId("panel").ariaExpanded = String(shown);
  log.follow();
});

connection.open();
