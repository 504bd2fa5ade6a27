// Entry of the extras' build. The ES module contains them: see `parts.js`.

export {ajax} from './ajax.js';
export {Deliveries} from './deliveries.js';
export {HttpClient, sendOverHttp} from './http.js';
export {Notices, tooLarge} from './notices.js';
export {keepQuery} from './former-queries.js';
export {makeLive, readMapped, refreshed} from './refreshed.js';
export {watchForDuplicates} from './duplicates.js';
export {withQuery} from './param.js';
export {restore, showKept, waitedWriteFailed} from './kept-writes.js';
