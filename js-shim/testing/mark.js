// The mark of an idempotency key
// ------------------------------

// FNV-1a of its bytes, the lowest 53 bits. A client recognizes its own change by it.
export function markOf(key) {
  let hash = 0xcbf29ce484222325n;
  for (const byte of new TextEncoder().encode(key)) hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n);
  return Number(BigInt.asUintN(53, hash));
}
