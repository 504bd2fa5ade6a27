// A program with npm's socket.io: records in a map, and a room for the listeners. With the argument
// `recovery` the server keeps what clients miss while they are away, for two minutes at most.

import { createServer } from "node:http";
import { Server } from "socket.io";

const http = createServer();
const recovery = { maxDisconnectionDuration: 2 * 60 * 1000, skipMiddlewares: true };
const io = new Server(http, {
  transports: ["websocket"],
  ...(process.argv[2] === "recovery" && { connectionStateRecovery: recovery }),
});
const records = new Map();
let next = 1;

const reply = (statusCode, body) => ({ body, statusCode, headers: {} });

const idOf = url => Number(url.slice(url.lastIndexOf("/") + 1));

// Tells everyone who listens, then answers.
function commit(verb, record, set, statusCode, ack) {
  records.set(record.id, record);
  io.to("todo").emit("push", "todo", { verb, id: record.id, data: set });
  ack(reply(statusCode, record));
}

io.on("connection", socket => {
  socket.on("get", (request, ack) => {
    socket.join("todo");
    ack(reply(200, [...records.values()]));
  });

  socket.on("post", ({ data }, ack) => {
    const now = Date.now();
    const record = { ...data, createdAt: now, updatedAt: now, id: next++ };
    commit("created", record, record, 201, ack);
  });

  socket.on("put", ({ url, data }, ack) => {
    const record = records.get(idOf(url));
    if (!record) return ack(reply(404));
    const set = { ...data, updatedAt: Date.now() };
    commit("updated", { ...record, ...set }, set, 200, ack);
  });

  socket.on("delete", ({ url }, ack) => {
    const record = records.get(idOf(url));
    if (!record) return ack(reply(404));
    records.delete(record.id);
    io.to("todo").emit("push", "todo", { verb: "destroyed", id: record.id });
    ack(reply(200, record));
  });
});

http.listen(0, "127.0.0.1", () => {
  console.log(`listening on http://127.0.0.1:${http.address().port}`);
});
