// The todos
// =========
//
// A model and a collection, as plain as they come.

const Todo = Backbone.Model.extend({
  defaults: {title: '', completed: false},

  // The name for a todo without a title.
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

// The views highlight the changes of others, and not those of this window. Backbone passes the
// options of a save to every event that it causes, so the views can distinguish them.
const own = {news: false};

// Returns typed text as a title.
function tidy(text) {
  return text.trim().slice(0, 200);
}
