// Decompression of the wasm module
// --------------------------------

import assert from 'node:assert/strict';
import {readFileSync} from 'node:fs';
import {test} from 'node:test';

import {unpack} from '../src/unpack.js';

const DIST = new URL('../dist/', import.meta.url);
const MODULE = new URL('wasm/backwire_client_wasm_', DIST);

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

test('the unpacked module of the build is the original, and is valid', async () => {
  const {packed, size} = await import(`${MODULE}bytes.js`);
  const module = Buffer.from(unpack(packed, size));
  assert.deepEqual(module, readFileSync(new URL(`${MODULE}bg.wasm`)));
  assert(WebAssembly.validate(module));
});

// Elsewhere the module would add 2 KB to the gzipped size: see `xtask/src/literal.rs`.
test('the packed module comes first in backwire.js', () => {
  const script = readFileSync(new URL('backwire.js', DIST), 'utf8');
  const [packed] = /[A-Za-z0-9+/=]{9999,}/.exec(script);
  assert(script.indexOf(packed) < 200, `it begins at ${script.indexOf(packed)}`);
});
