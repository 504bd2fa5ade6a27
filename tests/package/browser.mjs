// Chromium
// --------

import assert from 'node:assert/strict';
import {spawn} from 'node:child_process';
import {once} from 'node:events';
import {createInterface} from 'node:readline';

const OPTIONS = {args: ['--headless=new', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage']};

// Starts a browser that ends with the test.
export async function startBrowser(test) {
  const driver = spawn('chromedriver', ['--port=0'], {stdio: ['ignore', 'pipe', 'inherit']});
  const ended = once(driver, 'exit');
  let browser;
  test.after(async () => {
    await browser?.end();
    driver.kill();
    await ended;
  });
  const port = await portOf(driver);
  const {sessionId} = await command('POST', `http://127.0.0.1:${port}/session`, {capabilities: {alwaysMatch: {browserName: 'chrome', 'goog:chromeOptions': OPTIONS}}});
  browser = new Browser(`http://127.0.0.1:${port}/session/${sessionId}`);
  await browser.command('POST', 'timeouts', {script: 60_000});
  return browser;
}

class Browser {
  constructor(session) {
    this._session = session;
  }

  command(method, path, body) {
    return command(method, `${this._session}/${path}`, body);
  }

  open(url) {
    return this.command('POST', 'url', {url});
  }

  // Calls an async function of the page with these arguments, and returns its result.
  async run(run, ...args) {
    const script = `const done = arguments[arguments.length - 1];
      (${run})(...[...arguments].slice(0, -1)).then(value => done({value}), error => done({error: String(error?.stack ?? error)}));`;
    const {value, error} = await this.command('POST', 'execute/async', {script, args});
    assert.equal(error, undefined);
    return value;
  }

  end() {
    return this.command('DELETE', '');
  }
}

async function portOf(driver) {
  for await (const line of createInterface(driver.stdout)) {
    const [, port] = /started successfully on port (\d+)/.exec(line) ?? [];
    if (port) return port;
  }
  throw new Error('chromedriver did not start');
}

async function command(method, url, body) {
  const response = await fetch(url.replace(/\/$/, ''), {method, ...body && {body: JSON.stringify(body)}});
  const {value} = await response.json();
  if (value?.error) throw new Error(`${value.error}: ${value.message}`);
  return value;
}
