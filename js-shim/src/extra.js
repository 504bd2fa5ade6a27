// Entry of the extras' build. The ES module contains them: see `parts.js`.

export {ajax} from './ajax.js';
export {Deliveries} from './deliveries.js';
export {HttpClient, sendOverHttp} from './http.js';
export {Notices} from './notices.js';
export {keepQuery} from './keeper.js';
export {adopt, readMapped, refreshed} from './refreshed.js';
export {watchForTwins} from './twins.js';
export {withQuery} from './param.js';
export {restore, showKept, waitedInVain} from './waited.js';
