// Part with the element <backwire-status>
// ---------------------------------------
//
// A badge with the state of the connection. Its texts are attributes, its parts can be styled
// (`::part(dot)`, `::part(text)`), and a change is announced by screen readers.

// An interruption shorter than this is not shown, in milliseconds.
const DELAY = 1000;

const TEXTS = {
  online: 'Online',
  connecting: 'Connecting…',
  offline: 'Offline',
  unsent: '{text} · {count} unsent'
};

const HTML = `<style>
  :host { display: inline-flex; align-items: center; gap: 0.4em; font: inherit; }
  :host([hidden]) { display: none; }
  span[part=dot] { width: 0.6em; height: 0.6em; border-radius: 50%; background: var(--backwire-status-offline, #b3261e); }
  :host([state=online]) span[part=dot] { background: var(--backwire-status-online, #1b7f3b); }
  :host([state=connecting]) span[part=dot] { background: var(--backwire-status-connecting, #b26a00); }
  @media (forced-colors: active) { span[part=dot] { forced-color-adjust: none; } }
</style><span part="dot" aria-hidden="true"></span><span part="text" role="status"></span>`;

// Shows the state in an element, and keeps it up to date while it is in the page: each of
// `watchers` is called when it changes. Returns a function that ends it.
export function showStatus(element, backwire, watchers) {
  const root = element.shadowRoot ?? element.attachShadow({mode: 'open'});
  root.innerHTML = HTML;
  const text = root.querySelector('[part=text]');
  let timer;
  const show = () => {
    const {state, unsent} = backwire.status;
    element.setAttribute('state', state);
    element.toggleAttribute('unsent', unsent > 0);
    text.textContent = textOf(element, state, unsent);
  };
  const follow = () => {
    clearTimeout(timer);
    const isShort = backwire.status.state === 'connecting' && element.getAttribute('state') === 'online';
    if (isShort) timer = setTimeout(show, DELAY);
    else show();
  };
  show();
  watchers.add(follow);
  return () => {
    clearTimeout(timer);
    watchers.delete(follow);
  };
}

// The text of a state. `text-online`, `text-connecting`, `text-offline` and `text-unsent` replace
// the texts; the last one may contain `{text}` and `{count}`.
function textOf(element, state, unsent) {
  const own = name => element.getAttribute(`text-${name}`) ?? TEXTS[name];
  return unsent ? own('unsent').replace('{text}', () => own(state)).replace('{count}', unsent) : own(state);
}

export default {showStatus};
