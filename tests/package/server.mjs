// A real server for these tests
// -----------------------------

import {spawn} from 'node:child_process';
import {once} from 'node:events';
import {createInterface} from 'node:readline';

const program = process.env.BACKWIRE_BIN;
if (!program) {
  throw new Error('BACKWIRE_BIN is not set: `cargo xtask test --only package` builds a server and sets it');
}

// Starts a server with its records in memory, which ends with the test. Returns its origin.
export async function startServer(test, ...options) {
  const server = spawn(program, ['serve', '--port', '0', '--engine', 'memory', ...options], {stdio: ['ignore', 'pipe', 'inherit'], env: {...process.env, RUST_LOG: 'error'}});
  const ended = once(server, 'exit');
  test.after(async () => {
    server.kill();
    await ended;
  });
  for await (const line of createInterface(server.stdout)) {
    const [, origin] = /listening on (\S+)/.exec(line) ?? [];
    if (origin) return origin;
  }
  throw new Error('the server did not start');
}
