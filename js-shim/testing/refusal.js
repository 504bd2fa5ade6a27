// A refused request
// -----------------

// Thrown by the code that answers a request. The body is that of the server.
export class Refusal extends Error {
  constructor(statusCode, code, message, field) {
    super(message);
    Object.assign(this, {statusCode, body: {code, message, ...field !== undefined && {field}}});
  }
}
