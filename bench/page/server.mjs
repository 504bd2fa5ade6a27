// A server in the same process: a WebSocket that accepts each connection and answers each read, for
// the runtime and for Socket.IO's own client.

const HANDSHAKE =
  '0{"sid":"a","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":4000000}';
const EPOCH = 7;
// The position of each answer.
const OFFSET = 5;

const HEADERS = {
  "content-type": "application/json",
  "backwire-position": `${EPOCH}:${OFFSET}`,
  "backwire-room": "todo",
  "backwire-query": "whole",
};

// Returns a class of WebSockets. `records` are the answer to each read, `onSend(frame)` is called
// for each frame. The last connection is `Socket.last`.
export function socketOf(records, onSend = () => {}) {
  return class Socket extends EventTarget {
    static last;

    constructor() {
      super();
      Socket.last = this;
      setImmediate(() => {
        this.onopen?.({});
        this.receive(HANDSHAKE);
      });
    }

    send(frame) {
      onSend(frame);
      const [, ack] = /^42(\d+)\["get"/.exec(frame) ?? [];
      if (frame.startsWith("40")) this.answer('40{"sid":"b"}');
      if (ack) {
        const reply = { body: records, statusCode: 200, headers: HEADERS };
        this.answer(`43${ack}${JSON.stringify([reply])}`);
      }
    }

    close() {}

    answer(frame) {
      setImmediate(() => this.receive(frame));
    }

    // A frame of the server, as a browser passes it on.
    receive(data) {
      this.dispatchEvent(Object.assign(new Event("message"), { data }));
      this.onmessage?.({ data });
    }
  };
}

// The frames of these changes after an answer: one frame, or one for each.
export function framesOf(changes, areSeparate) {
  const entries = changes.map(({ verb, id, data }, at) => [OFFSET + 1 + at, verb, id, data, 0]);
  const frames = areSeparate ? entries.map(entry => [entry]) : [entries];
  let last = OFFSET;
  return frames.map(entries => {
    const frame = `42${JSON.stringify(["push", "todo", EPOCH, last, entries])}`;
    last = entries.at(-1)[0];
    return frame;
  });
}
