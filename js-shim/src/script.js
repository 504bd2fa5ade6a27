// The script tag
// --------------
//
// `<script src="http://host:1337/backwire.js"></script>`. After Backbone's own tag it is installed when the next script
// runs, whose `fetch` already goes by socket. Where Backbone is defined later, as by require.js, it is installed then.

import {makeBackwire} from './backwire.js';

// `data-url` names another server than the one the script came from; `data-connect="false"` leaves the
// connecting to the page; `data-identity` names who is using it; `data-site` and `data-token`, as whom
// they are known to a site of the push service.
export function startFromTag(page, tag, core) {
  const {url, connect, ...rest} = tag?.dataset ?? {};
  const backwire = page.Backwire = makeBackwire(core, page, url || tag?.src);
  const install = Backbone => backwire.install(Backbone, {connect: connect !== 'false', ...rest});
  if (page.Backbone) {
    // Without jQuery the page's first call needs them: they are there before the next script.
    if (!page.Backbone.$?.ajax && page.document?.readyState === 'loading') writeExtras(page, tag);
    return install(page.Backbone);
  }
  whenDefined(page, 'Backbone', install);
  page.addEventListener?.('load', () => {
    if (!page.Backbone) console.info('Backwire waits for window.Backbone or Backwire.install(Backbone).');
  });
  return backwire;
}

// Loads a part of ours from where the script tag came from: its file, and the name under which that leaves it.
export function loadPart(page, src, file, name, callback) {
  const done = () => callback(page.Backwire[name] ?? null);
  if (page.Backwire[name]) return done();
  const script = Object.assign(page.document.createElement('script'), {src: urlOf(src, file), onload: done, onerror: done});
  page.document.head.append(script);
}

function writeExtras({document}, {src, async}) {
  if (!async) document.write(`<script src="${urlOf(src, 'extra')}"></${'script'}>`);
}

function urlOf(src, file) {
  return new URL(`backwire.${file}.js`, src);
}

// Calls back once a global has been defined: at once if it is complete, else when the script that defines it has run.
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
