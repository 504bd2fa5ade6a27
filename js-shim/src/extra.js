// Entry of the extras' build. The ES module contains them: see `parts.js`.

export {ajax} from './ajax.js';
export {Deliveries} from './deliveries.js';
export {HttpClient, sendOverHttp} from './http.js';
export {Notices} from './notices.js';
export {watchForTwins} from './twins.js';
export {withQuery} from './param.js';
export {restore, showKept, waitedInVain} from './waited.js';
