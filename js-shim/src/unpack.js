// Decompression of the wasm module
// --------------------------------
//
// The build compresses the module with LZMA (`xtask/src/literal.rs`), because gzip leaves it a
// tenth larger. The stream is raw LZMA1 with lc = 3, lp = 0 and pb = 0, without its first byte,
// which is always 0, and without an end marker. The names are those of the LZMA specification
// (https://www.7-zip.org/sdk.html).

// Offsets of the probabilities of each kind in one array. There are 12 states.
const IS_MATCH = 0;
const IS_REP = 12;
const IS_REP_G0 = 24;
const IS_REP_G1 = 36;
const IS_REP_G2 = 48;
const IS_REP0_LONG = 60;
const POSITION_SLOT = 128;
const POSITION = 384;
const ALIGN = 512;
const LENGTH = 1024;
const REP_LENGTH = 1536;
const LITERAL = 2048;

// Returns the `size` bytes of `packed`, a binary string. `known` are the bytes that `packed` may
// refer to as if they came before. Each round of the loop writes at least one byte, so the loop
// ends for every input.
export function unpack(packed, size, known = []) {
  const {bit, bits, tree, reverseTree} = rangeDecoder(packed);
  let position = known.length;
  const output = new Uint8Array(position + size);
  output.set(known);
  const distances = [1, 1, 1, 1];
  let state = 0;

  function literal() {
    const offset = LITERAL + 768 * (output[position - 1] >> 5);
    // After a match, the byte at the last distance predicts this one until they differ.
    let predicted = output[position - distances[0]];
    let mask = state > 6 ? 256 : 0;
    let symbol = 1;
    while (symbol < 256) {
      predicted <<= 1;
      const expected = predicted & mask;
      const actual = bit(offset + mask + expected + symbol);
      mask &= actual ? expected : ~expected;
      symbol += symbol + actual;
    }
    state = state < 4 ? 0 : state < 10 ? state - 3 : state - 6;
    output[position++] = symbol;
  }

  function length(offset) {
    if (!bit(offset)) return 2 + tree(offset + 8, 3);
    if (!bit(offset + 1)) return 10 + tree(offset + 16, 3);
    return 18 + tree(offset + 256, 8);
  }

  function distance(count) {
    const slot = tree(POSITION_SLOT + 64 * Math.min(count - 2, 3), 6);
    if (slot < 4) return 1 + slot;
    const width = (slot >> 1) - 1;
    const base = (2 + slot % 2) << width;
    if (slot < 14) return 1 + base + reverseTree(POSITION + base - slot, width);
    return 1 + base + 16 * bits(width - 4) + reverseTree(ALIGN, 4);
  }

  // Moves a distance to the front of the last four, over the one at `index`.
  function use(used, index) {
    distances.splice(index, 1);
    distances.unshift(used);
  }

  function copy(count) {
    for (; count--; position++) output[position] = output[position - distances[0]];
  }

  function match() {
    const count = length(LENGTH);
    use(distance(count), 3);
    state = state < 7 ? 7 : 10;
    copy(count);
  }

  function repeat() {
    if (bit(IS_REP_G0 + state)) {
      const index = bit(IS_REP_G1 + state) ? 2 + bit(IS_REP_G2 + state) : 1;
      use(distances[index], index);
    } else if (!bit(IS_REP0_LONG + state)) {
      state = state < 7 ? 9 : 11;
      return copy(1);
    }
    state = state < 7 ? 8 : 11;
    copy(length(REP_LENGTH));
  }

  while (position < output.length) {
    if (!bit(IS_MATCH + state)) literal();
    else if (bit(IS_REP + state)) repeat();
    else match();
  }
  return output.slice(known.length);
}

// Reads bits out of a binary string, most of them with an adaptive probability.
function rangeDecoder(input) {
  // The probability of a 0, in 2048ths.
  const probabilities = new Uint16Array(8192).fill(1024);
  // The range, and the code in it. A variable of 32 bits would be a new object at each assignment.
  const state = new Uint32Array(2);
  let next = 0;
  state[0] = 2 ** 32 - 1;
  while (next < 4) state[1] = state[1] << 8 | input.charCodeAt(next++);

  // The part of the range below `bound` stands for a 0, the rest for a 1.
  function decide(range, bound) {
    let code = state[1];
    const isOne = code >= bound;
    if (isOne) code -= bound;
    range = isOne ? range - bound : bound;
    if (range < 2 ** 24) {
      range *= 256;
      code = code * 256 + input.charCodeAt(next++);
    }
    state[0] = range;
    state[1] = code;
    return +isOne;
  }

  function bit(index) {
    const range = state[0];
    const probability = probabilities[index];
    const value = decide(range, (range >>> 11) * probability);
    probabilities[index] += (value ? 31 : 2048) - probability >> 5;
    return value;
  }

  // Bits that are 0 as often as 1.
  function bits(count) {
    let value = 0;
    while (count--) {
      const half = state[0] >>> 1;
      value += value + decide(half * 2, half);
    }
    return value;
  }

  // The highest bit comes first.
  function tree(offset, count) {
    let node = 1;
    for (let left = count; left--;) node += node + bit(offset + node);
    return node - (1 << count);
  }

  // The lowest bit comes first.
  function reverseTree(offset, count) {
    let node = 1;
    let value = 0;
    for (let index = 0; index < count; index++) {
      const digit = bit(offset + node);
      value += digit << index;
      node += node + digit;
    }
    return value;
  }

  return {bit, bits, tree, reverseTree};
}
