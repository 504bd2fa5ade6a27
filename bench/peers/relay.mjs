// A push service as one would write it with npm's socket.io and lists in Redis: each message for a
// person is pushed to a list of their room and its event, then told with an ack, and removed by the
// ack. That is what the SocketIO Web Service does, with its resync, its several devices and its
// questions to back ends left out. `node relay.mjs SOCKET` has Redis at that path.

import { createServer } from "node:http";
import { connect } from "node:net";
import { Server } from "socket.io";

const SITE = "/bench";

// Just enough of Redis' protocol: commands are pipelined, integers and errors are what is answered.
function redis(path) {
  const stream = connect(path);
  const waiting = [];
  let rest = "";
  stream.setEncoding("latin1").on("data", data => {
    const lines = (rest + data).split("\r\n");
    rest = lines.pop();
    for (const line of lines) {
      const { resolve, reject } = waiting.shift();
      if (line[0] === ":") resolve(Number(line.slice(1)));
      else reject(new Error(line));
    }
  });
  // Frames that are sent within one turn are one write.
  const send = command => {
    if (!stream.writableCorked) {
      stream.cork();
      process.nextTick(() => stream.uncork());
    }
    const parts = command.map(part => `$${Buffer.byteLength(part)}\r\n${part}\r\n`);
    stream.write(`*${command.length}\r\n${parts.join("")}`);
  };
  return (...command) =>
    new Promise((resolve, reject) => {
      waiting.push({ resolve, reject });
      send(command);
    });
}

const ask = redis(process.argv[2]);
const http = createServer();
const site = new Server(http, { transports: ["websocket"] }).of(SITE);
let last = BigInt(Date.now()) << 22n;

// Stores it, then tells the first who is there. Nobody waits for their ack.
async function post({ rooms, event, args }) {
  const told = [event, ...args];
  const item = `${++last}:${JSON.stringify(told)}`;
  const stored = [rooms].flat().map(async room => {
    const list = `${SITE}:socket.io:${room}:${event}`;
    await ask("RPUSH", list, item);
    const [id] = site.adapter.rooms.get(room) ?? [];
    site.sockets.get(id)?.emit(...told, () => ask("LREM", list, "1", item));
  });
  await Promise.all(stored);
  return { status: 200 };
}

async function answer(body, response) {
  const said = JSON.parse(body);
  if (!Array.isArray(said)) {
    await post(said);
    return response.end("OK");
  }
  const outcomes = await Promise.all(said.map(post));
  response.setHeader("content-type", "application/json");
  response.end(JSON.stringify(outcomes));
}

http.on("request", (request, response) => {
  if (!request.url.startsWith("/send?")) return;
  const parts = [];
  request.on("data", part => parts.push(part));
  request.on("end", () => answer(Buffer.concat(parts), response));
});

site.on("connection", socket => socket.join(`user_${socket.handshake.auth.token}`));

http.listen(0, "127.0.0.1", () => {
  console.log(`listening on http://127.0.0.1:${http.address().port}`);
});
