// An application as a bundler takes it. The server's module stays what it is.
import * as Backbone from 'backbone';
import _ from 'underscore';
import Backwire from '/backwire.esm.js';

Backwire.install(Backbone, {url: '/'});
Object.assign(window, {bundled: {Backbone: Backbone.default ?? Backbone}, Backbone: Backbone.default ?? Backbone, Backwire, _});
