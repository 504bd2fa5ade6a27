// Reason phrases
// --------------

// Those with which the server answers over HTTP/1.1. Without a number before it, a phrase belongs
// to the next one.
const PHRASES = '200OK|Created|Accepted|Non Authoritative Information|No Content|Reset Content|Partial Content|Multi-Status|Already Reported|226IM Used|' +
  '300Multiple Choices|Moved Permanently|Found|See Other|Not Modified|Use Proxy|307Temporary Redirect|Permanent Redirect|' +
  '400Bad Request|Unauthorized|Payment Required|Forbidden|Not Found|Method Not Allowed|Not Acceptable|Proxy Authentication Required|Request Timeout|' +
  'Conflict|Gone|Length Required|Precondition Failed|Payload Too Large|URI Too Long|Unsupported Media Type|Range Not Satisfiable|Expectation Failed|' +
  'I\'m a teapot|421Misdirected Request|Unprocessable Entity|Locked|Failed Dependency|Too Early|Upgrade Required|428Precondition Required|' +
  'Too Many Requests|431Request Header Fields Too Large|451Unavailable For Legal Reasons|500Internal Server Error|Not Implemented|Bad Gateway|' +
  'Service Unavailable|Gateway Timeout|HTTP Version Not Supported|Variant Also Negotiates|Insufficient Storage|Loop Detected|510Not Extended|' +
  'Network Authentication Required';

const TEXTS = {};

let status;
for (const phrase of PHRASES.split('|')) {
  status = parseInt(phrase) || status + 1;
  TEXTS[status] = phrase.replace(/^\d+/, '');
}

// The reason phrase of a status, or an empty text.
export const statusTextOf = status => TEXTS[status] ?? '';
