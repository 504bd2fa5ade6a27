// AMD loaders
// -----------

// Lets a page with require.js ask for the module `backwire`. The name is fixed, as with jQuery: the
// loader reports a script tag that defines a module without a name as an error.
export function defineModule(backwire) {
  if (typeof define === 'function' && define.amd) define('backwire', [], () => backwire);
}
