// Answers of a test
// -----------------

// Returns the override that `respond` adds. `match(request)` is the match of the path, or null if
// this is not about the request. `answer` is then the answer, or null to leave it to the fake
// server.
export function overrideOf(method, path, response, {once: isOnce = false} = {}) {
  const verb = method.toUpperCase();
  const pattern = path instanceof RegExp ? path : patternOf(path);
  return {
    isOnce,
    match: request => (verb === '*' || verb === request.method ? request.path.match(pattern) : null),
    async answer(request, {groups}) {
      const made = typeof response === 'function' ? await response({...request, params: {...groups}}) : response;
      return made == null ? null : answerOf(made);
    }
  };
}

// A status, or an object like the `Response` of a server.
function answerOf(made) {
  const {status = 200, body, headers = {}} = typeof made === 'number' ? {status: made} : made;
  const lower = Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), String(value)]));
  const type = body === undefined ? {} : {'content-type': 'application/json'};
  return {statusCode: status, ...body === undefined ? {} : {body}, headers: {...type, ...lower}};
}

// `/todo/:id`: a segment that begins with a colon stands for any segment, and names it.
function patternOf(path) {
  const segments = path.split('/').map(segment => (segment[0] === ':' ? `(?<${segment.slice(1)}>[^/]+)` : segment.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&')));
  return new RegExp(`^${segments.join('/')}/?$`);
}
