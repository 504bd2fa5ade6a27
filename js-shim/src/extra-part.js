// Part for few pages
// ------------------
//
// Things that few pages need.

import {addRest} from './after-throw.js';
import {ajax} from './ajax.js';
import {Deliveries} from './deliveries.js';
import {watchForDuplicates} from './duplicates.js';
import {keepQuery} from './former-queries.js';
import {continueOverHttp, sendOverHttp} from './http.js';
import {restore, showKept, waitedWriteFailed} from './kept-writes.js';
import {Notices, tooLarge} from './notices.js';
import {withQuery} from './param.js';
import {makeLive, readMapped, refreshed, shareParts} from './refreshed.js';
import {Tokens} from './tokens.js';

export default {
  addRest, ajax, continueOverHttp, Deliveries, keepQuery, makeLive, Notices, readMapped, refreshed, restore, sendOverHttp, shareParts, showKept,
  tooLarge, Tokens, waitedWriteFailed, watchForDuplicates, withQuery
};
