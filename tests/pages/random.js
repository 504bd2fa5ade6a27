// Random programs
// ---------------
//
// The shared part of the random comparisons: numbers from a seed, and a way to shorten a failing
// program.

// Returns the fixed seeds and a new one; or only the seed in the variable BACKWIRE_SEED; or as many
// new seeds as BACKWIRE_RUNS says.
function seeds(count) {
  if (stories.seed !== null) return [stories.seed];
  const fixed = Array.from({length: stories.runs === null ? count : 0}, (_, index) => index + 1);
  return [...fixed, ...Array.from({length: stories.runs ?? 1}, () => Math.floor(Math.random() * 1e9))];
}

class Random {
  constructor(seed) {
    this.state = seed >>> 0;
  }

  // Returns a number in [0, 1), by mulberry32.
  next() {
    this.state = (this.state + 0x6d2b79f5) >>> 0;
    let mixed = this.state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }

  below(limit) {
    return Math.floor(this.next() * limit);
  }

  chance(part) {
    return this.next() < part;
  }

  pick(list) {
    return list[this.below(list.length)];
  }
}

// Returns the shortest list of steps that still fails. It leaves out one part after another.
async function shrunk(steps, failure) {
  let [shortest, reason] = [steps, await failure(steps)];
  for (let size = steps.length >> 1; size >= 1; size >>= 1) {
    for (let start = 0; start + size <= shortest.length;) {
      const shorter = [...shortest.slice(0, start), ...shortest.slice(start + size)];
      const still = await failure(shorter);
      if (still) [shortest, reason] = [shorter, still];
      else start += size;
    }
  }
  return {shortest, reason};
}

const describe = steps => steps.map(step => JSON.stringify(step)).join('\n  ');
