// The real jQuery, without a browser
// ----------------------------------
//
// Its ajax needs a window with a document that does next to nothing, and an XMLHttpRequest that a
// test answers.

import {createRequire} from 'node:module';

import {fakeXhr} from './page.js';

const {jQueryFactory} = createRequire(import.meta.url)('jquery/factory');

export function realJquery(address = 'http://app.test/notes/index.html') {
  const {XMLHttpRequest, requests} = fakeXhr();
  const document = {...element(), nodeType: 9, documentElement: element(), readyState: 'complete',
    createElement: element, createDocumentFragment: element, createTextNode: element,
    implementation: {createHTMLDocument: () => ({body: {childNodes: [1, 2]}})}};
  const {protocol} = new URL(address);
  const window = {document, location: {href: address, protocol}, XMLHttpRequest, FormData, Blob,
    setTimeout: (...args) => setTimeout(...args), clearTimeout: (...args) => clearTimeout(...args),
    addEventListener() {}, getComputedStyle: () => ({})};
  const $ = jQueryFactory(window);
  return {$, requests};
}

function element() {
  return {style: {}, childNodes: [], setAttribute() {}, appendChild: child => child, addEventListener() {},
    querySelectorAll: () => [], getElementsByTagName: () => [], cloneNode: element};
}
