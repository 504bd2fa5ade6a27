export default window.Backbone;
