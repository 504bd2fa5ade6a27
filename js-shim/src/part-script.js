// Entry of the build of a part for script tags: passes the part to `loadPart`. The build replaces
// `part` and `NAME`.

import part from 'part';

(window.Backwire._parts ??= {})[NAME] = part;
