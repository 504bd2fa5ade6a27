// Entry of the extras' build. The ES module contains them: see `parts.js`.

export {ajax} from './ajax.js';
export {Deliveries} from './deliveries.js';
export {HttpClient, sendOverHttp} from './http.js';
export {Notices} from './notices.js';
export {keepQuery} from './former-queries.js';
export {adopt, readMapped, refreshed} from './refreshed.js';
export {watchForTwins} from './duplicates.js';
export {withQuery} from './param.js';
export {restore, showKept, waitedInVain} from './kept-writes.js';
