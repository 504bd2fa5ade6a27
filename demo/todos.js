// The todos
// =========
//
// A model and a collection, as plain as they come.

const Todo = Backbone.Model.extend({
  defaults: {title: '', completed: false},

  // What to call it where there has to be a word.
  name() {
    return String(this.get('title') || 'untitled');
  },

  // It is gone from the screen at once, and comes back if the server says no. (A 404 means that
  // somebody else was faster.)
  discard() {
    const putBack = (todo, xhr) => { if (xhr.status !== 404) todos.add(todo); };
    this.destroy({deleting: true, error: putBack});
  }
});

const Todos = Backbone.Collection.extend({
  model: Todo,
  url: '/todo',

  // As they were made; those the server has not numbered yet come last.
  comparator: todo => todo.isNew() ? Infinity : todo.id,

  initialize() {
    this.on('change:id', () => this.sort());
  },

  active() {
    return this.filter(filters.active);
  },

  completed() {
    return this.filter(filters.completed);
  }
});

const todos = new Todos();

// Which todos there are to see.
const filters = {
  all: () => true,
  active: todo => !todo.get('completed'),
  completed: todo => Boolean(todo.get('completed'))
};

// What is done in this window is no news to whoever sits at it. Backbone hands the options of a
// save to every event that comes of it, so the views can tell, and highlight only what others did.
const own = {news: false};

// What somebody typed, as a title.
function tidy(text) {
  return text.trim().slice(0, 200);
}
