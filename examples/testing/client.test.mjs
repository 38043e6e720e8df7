// Tests of a client with Node.js: `node --test client.test.mjs`, with echod on PATH.
import assert from "node:assert";
import { spawn } from "node:child_process";
import { once } from "node:events";
import net from "node:net";
import { createInterface } from "node:readline";
import { test } from "node:test";

// Runs echod until the end of the test, and returns its listeners. Its standard input is a pipe: echod also stops when
// the test program has crashed.
async function start(t, ...words) {
  const echod = spawn("echod", [...words, "--announce", "json", "--until-eof"], { stdio: ["pipe", "pipe", "inherit"] });
  const ended = once(echod, "exit");
  t.after(() => {
    echod.stdin.end();
    return ended;
  });
  for await (const line of createInterface({ input: echod.stdout })) {
    return JSON.parse(line).listeners;
  }
  throw new Error("echod did not start");
}

test("everything comes back", async (t) => {
  const [listener] = await start(t, "--listen", "echo=tcp://127.0.0.1:0");
  const { hostname, port } = new URL(listener.url);
  const client = net.connect({ host: hostname, port: Number(port), allowHalfOpen: true });
  client.end("hello");
  let reply = "";
  for await (const piece of client) reply += piece;
  assert.equal(reply, "hello");
});
