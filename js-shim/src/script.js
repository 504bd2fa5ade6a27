// The script tag
// --------------
//
// `<script src="http://host:1337/backwire.js"></script>` after Backbone's own tag installs Backwire
// before the next script runs. If Backbone is defined later, for example by require.js, Backwire is
// installed then.

import {makeBackwire} from './backwire.js';

// `data-url` is another server than the one that the script came from. `data-path` is its path of
// Socket.IO. `data-connect="false"` means
// that the page calls `connect`. `data-realtime="optin"` keeps models on plain Ajax that do not set
// `realtime: true`, and `data-fallback="ajax"` uses it while offline. `data-identity` is the user.
// `data-shared` lets the tabs of a browser share a connection. `data-site` and `data-token` are the
// site of the push service and the user's token.
export function startFromTag(page, tag, core) {
  const {url, connect, shared = 'false', ...rest} = tag?.dataset ?? {};
  const backwire = page.Backwire = makeBackwire(core, page, url || tag?.src);
  const install = Backbone => backwire.install(Backbone, {connect: connect !== 'false', shared: shared !== 'false', ...rest});
  if (page.Backbone) {
    // Without jQuery the page's first call needs the part `extra`, so it is loaded before the
    // next script.
    if (!page.Backbone.$?.ajax && page.document?.readyState === 'loading') writeExtra(page, tag);
    return install(page.Backbone);
  }
  whenDefined(page, 'Backbone', install);
  page.addEventListener?.('load', () => {
    if (!page.Backbone) console.info('Backwire waits for window.Backbone or Backwire.install(Backbone).');
  });
  return backwire;
}

// Loads a part from the directory of the script tag. Its script registers the part:
// see `part-script.js`.
export function loadPart(page, src, name, callback) {
  const part = () => page.Backwire._parts?.[name] ?? null;
  const done = () => callback(part());
  if (part()) return done();
  const script = Object.assign(page.document.createElement('script'), {src: urlOf(src, name), onload: done, onerror: done});
  page.document.head.append(script);
}

function writeExtra({document}, {src, async}) {
  if (!async) document.write(`<script src="${urlOf(src, 'extra')}"></${'script'}>`);
}

function urlOf(src, name) {
  return new URL(`backwire.${name}.js`, src);
}

// Calls back once a global has been defined: at once if it is complete, else when the script that
// defines it has run.
function whenDefined(page, name, callback) {
  let value;
  Object.defineProperty(page, name, {
    configurable: true,
    enumerable: true,
    get: () => value,
    set(defined) {
      value = defined;
      if (!defined) return;
      Object.defineProperty(page, name, {value, configurable: true, enumerable: true, writable: true});
      if (defined.sync) callback(defined);
      else Promise.resolve().then(() => page[name] === value && callback(value));
    }
  });
}
