// The entry of an application for a bundler. The bundler does not include the server's module.
import * as Backbone from 'backbone';
import _ from 'underscore';
import Backwire from '/backwire.esm.js';

Backwire.install(Backbone, {url: '/'});
Object.assign(window, {bundled: {Backbone: Backbone.default ?? Backbone}, Backbone: Backbone.default ?? Backbone, Backwire, _});
