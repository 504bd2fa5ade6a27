// The programs of docs/how-to/push-messages-from-your-back-end.md that send a message
// ----------------------------------------------------------------------------------

import assert from 'node:assert/strict';
import {execFile} from 'node:child_process';
import {mkdtemp, readFile, rm, writeFile} from 'node:fs/promises';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {test} from 'node:test';
import {promisify} from 'node:util';
import {io} from 'socket.io-client';
import {server} from './client.mjs';

const page = await readFile(new URL('../../docs/how-to/push-messages-from-your-back-end.md', import.meta.url), 'utf8');
const section = page.split('## Send a message')[1].split('\n## ')[0];
const programs = {python: 'python3', php: 'php', ruby: 'ruby', js: process.execPath, sh: 'sh'};
const snippets = [...section.matchAll(/```(\w+)\n(.*?)```/gs)].map(([, language, code]) => ({language, code}));

// The messages that wait for a person.
function waiting(token) {
  const socket = io(`${server}/newsite`, {auth: {token}, forceNew: true, reconnection: false});
  return new Promise((resolve, reject) => {
    socket.on('connect_error', reject).on('batch', (events, ack) => {
      ack();
      resolve(events);
      socket.disconnect();
    });
  });
}

test('there is one program for each language', () => {
  assert.deepEqual(snippets.map(({language}) => language), Object.keys(programs));
});

for (const [number, {language, code}] of snippets.entries()) {
  test(`the documented program in ${language} sends its message`, {timeout: 60_000}, async t => {
    const folder = await mkdtemp(join(tmpdir(), 'backwire-'));
    t.after(() => rm(folder, {recursive: true}));
    const [file, room] = [join(folder, 'snippet'), `user_${number}`];
    assert.ok(code.includes('https://push.example/send?site=newsite') && code.includes('user_1'));
    await writeFile(file, code.replace('https://push.example', server).replace('user_1', room));
    const {stdout} = await promisify(execFile)(programs[language], [file]);
    assert.equal(stdout.trim(), 'OK');
    assert.deepEqual(await waiting(room), [['update_store', 'user', {id: 1, name: 'Zoë'}]]);
  });
}
