// The script tag
// --------------
//
// `<script src="http://host:1337/backwire.js"></script>`, after Backbone. When the next script runs,
// its `fetch` already goes by socket.

import {makeBackwire} from './backwire.js';

// `data-url` names another server than the one the script came from; `data-connect="false"` leaves the
// connecting to the page; `data-identity` says who is using it; `data-site` and `data-token`, as whom
// they are known to a site of the push service.
export function startFromTag(page, tag, makeClient) {
  const {url, connect, ...rest} = tag?.dataset ?? {};
  const backwire = page.Backwire = makeBackwire(makeClient, page, url || tag?.src);
  if (page.Backbone) return backwire.install(page.Backbone, {connect: connect !== 'false', ...rest});
  console.error('Backwire found no Backbone: call Backwire.install(Backbone).');
  return backwire;
}
