// The page's code
// ---------------

// Runs code of the page: a callback, an event handler, a `parse`. An exception is reported as an
// uncaught error and stops nothing else. The other listeners still run, and no exception unwinds
// through wasm, which would leave the core's state half changed.
export function attempt(call) {
  try {
    return call();
  } catch (error) {
    report(error);
  }
}

// Reports an exception of the page.
export function report(error) {
  if (typeof reportError === 'function') return reportError(error);
  setTimeout(() => { throw error; });
}
