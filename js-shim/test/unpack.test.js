// Decompression of the wasm module
// --------------------------------

import assert from 'node:assert/strict';
import {readFileSync} from 'node:fs';
import {test} from 'node:test';

import {unpack} from '../src/unpack.js';

const DIST = new URL('../dist/', import.meta.url);
const original = name => readFileSync(new URL(`wasm/backwire_${name}_wasm_bg.wasm`, DIST));
const packed = name => import(new URL(`wasm/backwire_${name}_wasm_bytes.js`, DIST));

// The tests of `xtask/src/literal.rs` decode these vectors with the library that packs the module.
const vectors = readFileSync(new URL('unpack.vectors.tsv', import.meta.url), 'utf8').trimEnd().split('\n')
  .map(line => line.split('\t')).map(([name, bytes, packed]) => ({name, bytes: Buffer.from(bytes, 'base64'), packed: atob(packed)}));

for (const {name, bytes, packed} of vectors) {
  test(`bytes are unpacked as they were: ${name}`, () => {
    assert.deepEqual(Buffer.from(unpack(packed, bytes.length)), bytes);
  });
}

test('a malformed stream is unpacked to something of the given size', () => {
  const {packed} = vectors.find(({name}) => name === 'mixed');
  for (const malformed of ['', '\0\0\0', '\xff'.repeat(9), packed.slice(0, 40), packed.slice(9)]) {
    assert.equal(unpack(malformed, 4000).length, 4000);
  }
});

test('the unpacked modules of the build are the originals, and are valid', async () => {
  const [client, queries] = await Promise.all(['client', 'queries'].map(packed));
  const module = unpack(client.packed, client.size);
  assert.deepEqual(Buffer.from(module), original('client'));
  assert(WebAssembly.validate(module));
  // The second one refers to passages of the first.
  const other = unpack(queries.packed, queries.size, module);
  assert.deepEqual(Buffer.from(other), original('queries'));
  assert(WebAssembly.validate(other));
});

// Elsewhere a module would add 2 KB to the gzipped size: see `xtask/src/literal.rs`.
for (const name of ['backwire.js', 'backwire.queries.js']) {
  test(`the packed module comes first in ${name}`, () => {
    const script = readFileSync(new URL(name, DIST), 'utf8');
    const [text] = /[A-Za-z0-9+/=]{5000,}/.exec(script);
    assert(script.indexOf(text) < 200, `it begins at ${script.indexOf(text)}`);
  });
}
