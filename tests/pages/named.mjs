const {Model, Collection, View, Events, sync, ajax, $} = window.Backbone;
export {Model, Collection, View, Events, sync, ajax, $};
