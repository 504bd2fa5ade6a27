// The page's code
// ---------------

// Runs code of the page: a callback, an event handler, a `parse`. What it throws is reported as any
// uncaught error is and stops nothing of ours: the other listeners still hear, and no exception
// ever unwinds through wasm, which would leave its state half changed.
export function attempt(call) {
  try {
    return call();
  } catch (error) {
    report(error);
  }
}

function report(error) {
  if (typeof reportError === 'function') return reportError(error);
  setTimeout(() => { throw error; });
}
