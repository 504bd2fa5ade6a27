// Many clients of npm's socket.io-client, one for each port among the arguments. Each prints the
// changes that it receives: `client change time`. A client whose state was not recovered has missed
// changes; it joins again, and prints `client again`.

import { createRequire } from "node:module";

// As a module for CommonJS it is the build that an app without a bundler uses.
const { io } = createRequire(import.meta.url)("socket.io-client");

const ports = process.argv.slice(2);
let joined = 0;
let output = "";

const now = () => performance.timeOrigin + performance.now();

// Everything that arrives at the same time is written at once.
function print(line) {
  if (!output) setImmediate(flush);
  output += `${line}\n`;
}

function flush() {
  process.stdout.write(output);
  output = "";
}

ports.forEach((port, client) => {
  // It tries again sooner than by default, so that it is away hardly longer than its network.
  const socket = io(`http://127.0.0.1:${port}`, {
    transports: ["websocket"],
    forceNew: true,
    reconnectionDelay: 250,
    reconnectionDelayMax: 1000,
  });
  let isFirst = true;
  socket.on("connect", () => {
    // The server keeps the rooms of a client whose state it recovers.
    if (socket.recovered) return;
    if (!isFirst) print(`${client} again`);
    socket.emit("get", { url: "/todo" }, () => {
      if (isFirst && ++joined === ports.length) print("ready");
      isFirst = false;
    });
  });
  socket.on("push", (room, { data }) => print(`${client} ${data.number} ${now()}`));
});
