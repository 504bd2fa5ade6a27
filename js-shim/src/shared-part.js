// Part for one connection per browser
// -----------------------------------

import {SharedConnection} from './shared-connection.js';

export default {SharedConnection};
