// Seeds of random tests
// ---------------------
//
// `SEED=7 node --test …` runs one seed, and `RUNS=1000` more of them than the default.

export function seedsOf(count) {
  const {SEED, RUNS = count} = process.env;
  return SEED ? [Number(SEED)] : Array.from({length: Number(RUNS)}, (_, at) => at + 1);
}
