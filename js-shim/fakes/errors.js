// Reported errors
// ---------------

import {afterEach, beforeEach} from 'node:test';

// Returns the list of the messages that a test's page reports with `reportError`. Each test begins
// with an empty list.
export function reportedErrors() {
  const {reportError} = globalThis;
  const errors = [];
  beforeEach(() => {
    errors.length = 0;
    globalThis.reportError = error => errors.push(error.message);
  });
  afterEach(() => { globalThis.reportError = reportError; });
  return errors;
}
