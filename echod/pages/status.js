// The status page: reads the event stream of the daemon, and shows it. Everything reaches the document as text nodes.

const byId = (id) => document.getElementById(id);
const words = JSON.parse(byId("words").textContent);
const lang = document.documentElement.lang;
const number = new Intl.NumberFormat(lang);
const short = new Intl.NumberFormat(lang, { maximumSignificantDigits: 3 });
const moment = new Intl.DateTimeFormat(lang, { dateStyle: "medium", timeStyle: "medium" });
const time = new Intl.DateTimeFormat(lang, { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });

const KEPT = 300; // seconds of the charts
const RECENT = 60; // seconds in which a refusal or a lost line of the log is a problem
const EVENTS = 200; // lines of the list of events
const SEEN = 2_000; // identifiers of events: the daemon keeps half as many
const EXPIRING = 21; // a certificate with fewer days left is a problem, as in echod.tls.days_left
const HIDDEN = 30_000; // milliseconds after which a hidden page closes its stream: browsers have six for each host
const STEPS = [...Array(50).keys()].map((power) => 2 ** power); // distances of the lines of a chart
const SECONDS = [5, 10, 30, 60, 120]; // the same for its time
const LATE = 10_000; // milliseconds without a message after which the connection counts as lost

/** The words of a key, with its {names} replaced. */
function worded(key, values = {}) {
  return words[key].replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

/** A number of bytes: exact below `exact`, 1 MiB by default. */
function bytes(count, exact = 1024 * 1024) {
  if (count < Math.min(exact, 1024 * 1024)) return worded("bytes", { value: number.format(Math.round(count)) });
  const unit = Math.min(Math.floor(Math.log2(count) / 10), 5);
  return `${short.format(count / 1024 ** unit)} ${["B", "KiB", "MiB", "GiB", "TiB", "PiB"][unit]}`;
}

/** A number of bytes a second, or of the scale of a chart. */
const rounded = (count) => bytes(count, 1024);

/** A duration in seconds. */
function span(seconds) {
  const [days, hours, minutes] = [seconds / 86_400, (seconds / 3_600) % 24, (seconds / 60) % 60].map(Math.floor);
  if (days) return worded("days", { days, hours });
  if (hours) return worded("hours", { hours, minutes });
  return minutes ? worded("minutes", { value: minutes }) : worded("seconds", { value: Math.floor(seconds) });
}

/** An element with a class and children: nodes, or texts. */
function element(tag, name, ...children) {
  const made = document.createElement(tag);
  if (name) made.className = name;
  made.append(...children.filter((child) => child !== null));
  return made;
}

/** A number whose exact value programs can read. */
function figure(value, shown = number.format(value)) {
  const made = element("data", "", shown);
  made.value = String(value);
  if (shown !== number.format(value)) made.title = number.format(value);
  return made;
}

/** Replace the children of an element, only if their HTML differs: a selection and a reader's place stay. */
function replace(target, ...children) {
  const made = element(target.tagName, "", ...children);
  if (made.innerHTML !== target.innerHTML) target.replaceChildren(...made.childNodes);
}

/** A table. A cell is a node or a text; a column with a third part true has figures. Narrow screens show it as blocks. */
function table(target, columns, rows, title) {
  if (!rows.length) {
    target.replaceChildren();
    return;
  }
  const role = (made, name) => {
    made.setAttribute("role", name);
    return made;
  };
  const heads = columns.map(([key, figures]) => {
    const head = role(element("th", figures ? "figure" : "", words[key]), "columnheader");
    head.scope = "col";
    return head;
  });
  const lines = rows.map((cells) => {
    const parts = cells.map((cell, at) => {
      const [key, figures] = columns[at];
      const made = role(element(at ? "td" : "th", figures ? "figure" : "", cell), at ? "cell" : "rowheader");
      if (at) made.dataset.label = words[key];
      else made.scope = "row";
      return made;
    });
    return role(element("tr", "", ...parts), "row");
  });
  const head = role(element("thead", "", role(element("tr", "", ...heads), "row")), "rowgroup");
  const made = role(element("table", "", head, role(element("tbody", "", ...lines), "rowgroup")), "table");
  made.setAttribute("aria-labelledby", title);
  replace(target, made);
}

const escaping = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Zl}\p{Zp}]/gu;
/** Text on one line, with hidden characters escaped. */
const plain = (text) => String(text).replace(escaping, (one) => `\\u{${one.codePointAt(0).toString(16)}}`);

let status = null; // the last status of the daemon
let before = null; // totals of the one before
let dropped = 0; // events that the daemon dropped for this page
let heardAt = 0; // when the last message arrived
const series = { at: [], in: [], out: [], open: [], new: [] };
const minute = new Map(); // by counter: pairs of time and count of the last minute

/** Sums over all listeners. */
function totals() {
  const sum = { open: 0, accepted: 0, datagrams: 0, in: 0, out: 0, refused: 0 };
  for (const service of status.services) {
    for (const one of service.listeners) {
      sum.open += one.open;
      sum.accepted += one.accepted;
      sum.datagrams += one.datagrams_in;
      sum.in += one.bytes_in;
      sum.out += one.bytes_out;
      sum.refused += Object.values(one.refused).reduce((all, count) => all + count, 0);
    }
  }
  return { ...sum, at: status.uptime };
}

/** Every refusal: its service, listener, reason and count, the most frequent first. */
function refused() {
  const found = [];
  for (const service of status.services) {
    for (const listener of service.listeners) {
      for (const [reason, count] of Object.entries(listener.refused)) found.push({ service, listener, reason, count });
    }
  }
  return found.sort((one, other) => other.count - one.count);
}

/** How many clients a listener has refused for a reason in the last minute, as far as this page knows. */
function refusedLately({ service, listener, reason, count }) {
  return risen(`${service.name} ${listener.address} ${reason}`, count, before === null ? count : 0);
}

/** How much a counter has risen in the last minute. `unseen` is its value before this page first saw it. */
function risen(key, count, unseen) {
  const counts = minute.get(key) ?? [[status.uptime, unseen]];
  if (counts.at(-1)[1] !== count) counts.push([status.uptime, count]);
  while (counts.length > 1 && counts[1][0] <= status.uptime - RECENT) counts.shift();
  minute.set(key, counts);
  return count - counts[0][1];
}

const meaning = (reason) => words.reasons[reason] ?? reason;

/** The setting that would change a refusal, as lines of TOML below their table; null without one. */
function settingOf(service, reason) {
  const setting = service.refusals[reason];
  return setting ? [`[${setting.table}]`, ...setting.line.split("\n")].map(plain).join("\n") : null;
}

/** Each problem, as its severity and text. */
function problems() {
  const found = [];
  const add = (severity, key, values) => found.push([severity, worded(key, values)]);
  const last = status.last_reload;
  if (last && !last.reloaded) add("error", "problem_reload", { errors: last.errors.map(plain).join("; ") });
  if (status.internal_errors) add("error", "problem_internal", { count: number.format(status.internal_errors) });
  for (const one of status.workers ?? []) if (!one.serving) add("error", "problem_worker", { worker: one.worker });
  for (const one of status.awaited) {
    add("warn", "problem_awaited", { address: plain(one.address), service: plain(one.service), error: plain(one.error) });
  }
  for (const service of status.services) {
    for (const one of service.certificates ?? []) {
      if (one.on_purpose) continue;
      const values = { subject: plain(one.subject), service: plain(service.name), days: one.days_left };
      if (one.days_left < 0) add("error", "problem_expired", values);
      else if (one.days_left < EXPIRING) add("warn", "problem_certificate", values);
    }
  }
  for (const { name, limit, used, most, shown } of usedLimits()) {
    if (used >= most) add("warn", "problem_limit", { name: plain(name), limit, used: shown(used), most: shown(most) });
  }
  for (const one of refused()) {
    const count = refusedLately(one);
    if (!count) continue;
    const [service, address] = [plain(one.service.name), plain(one.listener.address)];
    add("warn", "problem_refused", { service, address, count: number.format(count), why: meaning(one.reason) });
    const setting = settingOf(one.service, one.reason);
    if (setting) found.at(-1)[1] += ` ${worded("change", { setting: setting.replaceAll("\n", " ") })}`;
  }
  // Of a daemon that has started within the last minute, all lost lines are recent. The facts keep the total.
  const lines = risen("lines_lost", status.lines_lost, status.uptime < RECENT ? 0 : status.lines_lost);
  if (lines) add("warn", "problem_lines", { count: number.format(lines) });
  if (status.events_lost) add("warn", "problem_events", { count: number.format(status.events_lost) });
  if (dropped) add("warn", "problem_dropped", { count: number.format(dropped) });
  return found;
}

function showProblems() {
  const found = problems();
  // A screen reader announces how many there are. Their figures change every second.
  byId("healthy").className = found.length ? "aloud" : "";
  const summary = found.length ? worded("problem_count", { count: found.length }) : words.healthy;
  if (byId("healthy").textContent !== summary) byId("healthy").textContent = summary;
  replace(byId("problems"), ...found.map(([severity, text]) => element("li", severity, text)));
}

function showNow(now) {
  const seconds = before === null ? 0 : now.at - before.at;
  const rate = (key) => (seconds > 0 ? Math.max(0, now[key] - before[key]) / seconds : 0);
  const tiles = [
    ["open", figure(now.open)],
    ["new_rate", worded("per_second", { value: short.format(rate("accepted")) })],
    ["datagram_rate", worded("per_second", { value: short.format(rate("datagrams")) })],
    ["in_rate", worded("per_second", { value: rounded(rate("in")) })],
    ["out_rate", worded("per_second", { value: rounded(rate("out")) })],
    ["refused_rate", worded("per_second", { value: short.format(rate("refused")) })],
  ];
  replace(byId("tiles"), ...tiles.map(([key, shown]) => {
    const value = element("dd", "", shown);
    value.dataset.of = key;
    return element("div", "", element("dt", "", words[key]), value);
  }));
  if (seconds > 0) {
    series.at.push(Date.now() / 1000);
    series.in.push(rate("in"));
    series.out.push(rate("out"));
    series.open.push(now.open);
    series.new.push(rate("accepted"));
    for (const one of Object.values(series)) if (one.length > KEPT) one.shift();
  }
  const legend = (key, value) => element("span", "", worded(key, { value }));
  replace(byId("traffic-text"), legend("chart_in", rounded(rate("in"))), legend("chart_out", rounded(rate("out"))));
  replace(
    byId("open-text"),
    legend("chart_open", number.format(now.open)),
    legend("chart_new", short.format(rate("accepted"))),
  );
}

/** The charts of the last minutes, in the colors of the page. */
class Charts {
  constructor() {
    this.charts = [];
    this.draw();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
    new ResizeObserver(() => this.resize()).observe(byId("traffic"));
  }

  draw() {
    for (const chart of this.charts) chart.destroy();
    this.charts = [
      this.chart("traffic", ["in", "out"], rounded),
      this.chart("open", ["open", "new"], (value) => short.format(value)),
    ];
  }

  chart(id, names, shown) {
    const style = getComputedStyle(document.documentElement);
    const color = (name) => style.getPropertyValue(name).trim();
    const axis = { stroke: color("--muted"), grid: { stroke: color("--line"), width: 1 }, ticks: { show: false } };
    const line = (name) => ({ stroke: color(name), width: 2, points: { show: false } });
    const box = byId(id);
    const options = {
      width: box.clientWidth,
      height: box.clientHeight,
      padding: [null, 28, null, null], // half of a time, at the right end of its axis
      legend: { show: false },
      cursor: { show: false },
      scales: { y: { range: (_, low, high) => [Math.min(0, low ?? 0), Math.max(high ?? 0, 1) * 1.1] } },
      axes: [
        { ...axis, values: (_, all) => all.map((value) => time.format(value * 1000)), space: 90, size: 28, incrs: SECONDS },
        { ...axis, values: (_, all) => all.map(shown), size: 76, incrs: STEPS },
      ],
      series: [{}, line("--first"), line("--second")],
    };
    const chart = new uPlot(options, this.data(names), box);
    chart.names = names;
    return chart;
  }

  data(names) {
    return [series.at, ...names.map((name) => series[name])];
  }

  resize() {
    for (const chart of this.charts) {
      const box = chart.root.parentElement;
      chart.setSize({ width: box.clientWidth, height: box.clientHeight });
    }
  }

  update() {
    for (const chart of this.charts) chart.setData(this.data(chart.names));
  }
}

function showServices() {
  const columns = [
    ["service"], ["address"], ["open_now", true], ["accepted", true], ["datagrams", true], ["received", true],
    ["sent", true], ["refused", true],
  ];
  const rows = [];
  for (const service of status.services) {
    const faults = Object.entries(service.faults ?? {}).map(([key, value]) => `${key} = ${value}`).join(", ");
    for (const one of service.listeners) {
      const datagrams = /^(udp|unix-dgram|systemd)/.test(one.address) && !one.accepted;
      const count = Object.values(one.refused).reduce((all, each) => all + each, 0);
      rows.push([
        element("span", "", plain(service.name), faults ? element("span", "why alarm", worded("injects", { faults: plain(faults) })) : ""),
        element("span", "address", plain(one.address)),
        datagrams ? "" : figure(one.open),
        datagrams ? "" : figure(one.accepted),
        datagrams || one.datagrams_in ? figure(one.datagrams_in) : "",
        figure(one.bytes_in, bytes(one.bytes_in)),
        figure(one.bytes_out, bytes(one.bytes_out)),
        figure(count),
      ]);
    }
  }
  table(byId("services"), columns, rows, "services-title");
}

const LIMITS = ["connections", "per-client", "new-per-client", "rate"]; // the reasons that are keys of a limit

/** Each limit of which a part is used: the fullest first. */
function usedLimits() {
  const found = status.services.map((service) => {
    const used = service.listeners.reduce((sum, one) => sum + one.open, 0);
    const most = service.limits.connections;
    return { name: service.name, limit: words.limit_connections, used, most, shown: (value) => number.format(value) };
  });
  const most = Math.min(...status.services.map((service) => service.limits["total-buffer"]));
  if (status.services.length) {
    found.push({ name: words.all_services, limit: words.limit_total, used: status.unsent, most, shown: bytes });
  }
  return found.filter(({ used }) => used > 0).sort((one, other) => other.used / other.most - one.used / one.most);
}

/** The limits that are used most, and those that have refused a client. */
function showLimits() {
  const rows = usedLimits().slice(0, 5).map(({ name, limit, used, most, shown }) => {
    const meter = element("meter", "");
    Object.assign(meter, { min: 0, max: most, high: most * 0.8, optimum: 0, value: used });
    meter.setAttribute("aria-label", `${plain(name)}: ${limit}`);
    return [plain(name), limit, figure(used, shown(used)), figure(most, shown(most)), meter, ""];
  });
  for (const { service, reason, count } of refused()) {
    if (LIMITS.includes(reason)) {
      const reached = element("span", "alarm", figure(count));
      rows.push([plain(service.name), element("code", "", plain(service.refusals[reason].line)), "", "", "", reached]);
    }
  }
  byId("no-limits").hidden = rows.length > 0;
  table(byId("limits"), [["service"], ["limit"], ["used", true], ["most", true], ["share"], ["refused", true]], rows, "limits-title");
}

function showRefusals() {
  const found = refused();
  byId("no-refusals").hidden = found.length > 0;
  const rows = found.map(({ service, listener, reason, count }) => {
    const setting = settingOf(service, reason);
    const origin = service.refusals[reason]?.origin;
    const from = origin === "default" ? words.origin_default : worded("origin", { origin: plain(origin ?? "") });
    return [
      plain(service.name),
      element("span", "address", plain(listener.address)),
      element("span", "", reason, element("span", "why", meaning(reason))),
      figure(count),
      setting ? element("span", "", element("code", "", setting), element("span", "origin", from)) : "",
    ];
  });
  table(byId("refusals"), [["service"], ["address"], ["reason"], ["count", true], ["setting"]], rows, "refusals-title");
}

function showWorkers() {
  byId("workers-section").hidden = !status.workers;
  const rows = (status.workers ?? []).map((one) => [
    String(one.worker),
    String(one.pid),
    figure(one.connections),
    one.serving ? worded("serving", { time: span(one.uptime) }) : element("span", "alarm", words.starting),
  ]);
  table(byId("workers"), [["worker"], ["process", true], ["open_now", true], ["state"]], rows, "workers-title");
}

function showCertificates() {
  const found = status.services.flatMap((service) => (service.certificates ?? []).map((one) => ({ ...one, service: service.name })));
  found.sort((one, other) => one.days_left - other.days_left);
  byId("certificates-section").hidden = !found.length;
  const rows = found.map((one) => [
    plain(one.service),
    element("span", "", plain(one.subject), one.on_purpose
      ? element("span", "why alarm", worded("on_purpose", { source: plain(one.source) }))
      : element("span", "why", plain(one.source))),
    plain(one.names.join(", ")),
    figure(one.days_left),
    element("span", one.days_left < EXPIRING && !one.on_purpose ? "alarm" : "", moment.format(new Date(one.until))),
  ]);
  const columns = [["service"], ["certificate"], ["names"], ["days_left", true], ["expires"]];
  table(byId("certificates"), columns, rows, "certificates-title");
}

function showReload() {
  const last = status.last_reload;
  const text = !last ? words.reload_none : last.reloaded ? worded("reload_kept", last) : words.reload_refused;
  replace(byId("reload"), text);
  const lines = !last ? [] : last.reloaded ? [...last.changes, ...last.notes] : last.errors;
  replace(byId("changes"), ...lines.map((line) => element("li", last.reloaded ? "" : "alarm", plain(line))));
}

function showFacts() {
  const facts = [
    ["version", plain(status.version)],
    ["python", plain(status.python)],
    ["process", String(status.pid)],
    ["started", moment.format(new Date(status.started * 1000))],
    ["uptime", span(status.uptime)],
    ["files", status.files.map(plain).join(", ") || words.built_in],
    ["fast_path", status.plane ? words.on : words.off],
    ["reloads", worded("reload_counts", status.reloads)],
    ["unsent", figure(status.unsent, bytes(status.unsent))],
    ["missed", figure(status.missed)],
    ["lines_lost", figure(status.lines_lost)],
    ["internal_errors", figure(status.internal_errors)],
  ];
  replace(byId("facts"), ...facts.flatMap(([key, value]) => [element("dt", "", words[key]), element("dd", "", value)]));
  byId("about").textContent = worded("about", { version: status.version, pid: status.pid, uptime: span(status.uptime) });
}

function showState(state, text) {
  if (byId("state").textContent === text) return;
  byId("state").dataset.state = state;
  byId("state").textContent = text;
}

let charts = null;

function show() {
  showState(status.ready ? "open" : "connecting", status.ready ? words.ready : words.not_ready);
  const now = totals();
  if (before !== null && now.at < before.at) {
    before = null; // another daemon
    minute.clear();
  }
  showProblems();
  showNow(now);
  showServices();
  showLimits();
  showRefusals();
  showWorkers();
  showCertificates();
  showReload();
  showFacts();
  before = now;
  charts ??= new Charts();
  charts.update();
}

/** Add an event to the list; the newest is first. */
function showEvent(event) {
  const shown = element("time", "", time.format(new Date(event.time)));
  shown.dateTime = event.time;
  const severity = element("span", event.level, event.level);
  const line = element("li", "", shown, severity, element("span", "", plain(event.message)));
  byId("events").prepend(line);
  while (byId("events").children.length > EVENTS) byId("events").lastElementChild.remove();
}

/** The stream of the daemon. A hidden page closes it after a while, and opens it again when it is shown. */
class Stream {
  constructor() {
    this.source = null;
    this.timer = 0;
    this.seen = new Set(); // of events: a stream that is opened again begins with those that it had
    document.addEventListener("visibilitychange", () => {
      clearTimeout(this.timer);
      if (document.hidden) this.timer = setTimeout(() => this.close(), HIDDEN);
      else if (this.source === null) this.open();
    });
    setInterval(() => this.check(), 1000);
    this.open();
  }

  open() {
    this.source = new EventSource("/api/events?status=yes");
    heardAt = Date.now();
    this.source.addEventListener("status", (message) => {
      status = JSON.parse(message.data);
      this.received();
    });
    this.source.addEventListener("changes", (message) => {
      const { members, services, listeners } = JSON.parse(message.data);
      Object.assign(status, members);
      for (const [at, found] of Object.entries(services)) Object.assign(status.services[at], found);
      for (const [at, found] of Object.entries(listeners)) {
        for (const [index, counters] of Object.entries(found)) Object.assign(status.services[at].listeners[index], counters);
      }
      this.received();
    });
    this.source.addEventListener("dropped", (message) => {
      dropped += JSON.parse(message.data).dropped;
    });
    this.source.addEventListener("message", (message) => {
      if (this.seen.has(message.lastEventId)) return;
      this.seen.add(message.lastEventId);
      if (this.seen.size > SEEN) this.seen.delete(this.seen.values().next().value);
      showEvent(JSON.parse(message.data));
    });
    this.source.addEventListener("error", () => {
      this.lost();
      if (this.source?.readyState === EventSource.CLOSED) this.again();
    });
  }

  received() {
    heardAt = Date.now();
    show();
  }

  lost() {
    showState("closed", worded("lost", { time: time.format(heardAt) }));
  }

  /** A refused stream is tried again: a browser does that only for lost ones. */
  again() {
    this.close();
    setTimeout(() => this.source === null && !document.hidden && this.open(), 3000);
  }

  check() {
    if (this.source !== null && Date.now() - heardAt > LATE) this.lost();
  }

  close() {
    this.source?.close();
    this.source = null;
  }
}

new Stream();
