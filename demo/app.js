// Todos, live
// ===========
//
// A todo list in plain Backbone: a model and its collection (todos.js), a view of one todo
// (todo-view.js), and here the list, the page around it and the router. It reads its todos once and
// then does what any Backbone app does: it listens to its collection. That it is live is the work
// of one script tag, and only the light at the top (`ConnectionView`) knows about it. Take the tag
// away and everything else still works, by plain requests to /todo.

// The part of the todos that this window shows.
const page = new Backbone.Model({filter: 'all', loaded: false});

// However many events arrive in one go, such a method runs once, right after them.
function soon(draw) {
  let isDue = false;
  return function() {
    if (isDue) return;
    isDue = true;
    queueMicrotask(() => {
      isDue = false;
      draw.call(this);
    });
  };
}

// The list
// --------

const ListView = Backbone.View.extend({
  el: '.list',

  initialize() {
    this.rows = {};
    this.listenTo(todos, 'add', this.add);
    this.listenTo(todos, 'remove', this.drop);
    this.listenTo(todos, 'update sort change:completed', this.arrange);
    this.listenTo(page, 'change:filter', this.arrange);
  },

  add(todo, collection, options) {
    const row = this.rows[todo.cid] = new TodoView({model: todo});
    this.listenTo(row, 'edited', this.edited);
    if (options.news !== false) row.highlight();
  },

  // The element goes with the next `arrange`, which still needs to know where the focus was.
  drop(todo) {
    const row = this.rows[todo.cid];
    if (row.isEditing) return row.orphan();
    delete this.rows[todo.cid];
    this.stopListening(row);
    row.stopListening();
  },

  edited(row) {
    if (!row.model.collection) this.drop(row.model);
    this.arrange();
  },

  // Brings the rows on the screen in line with the collection and the filter, touching only those
  // that are out of place.
  arrange: soon(function() {
    const focused = document.activeElement;
    const place = $(focused).closest('.todo').index();
    const rows = this.visibleRows();
    const elements = new Set(rows.map(row => row.el));
    this.$el.children().filter((index, element) => !elements.has(element)).detach();
    let next = this.el.firstElementChild;
    for (const element of elements) {
      // An element that is moved loses the focus, so the others step behind it instead.
      while (next !== element && element.contains(focused)) {
        const passed = next;
        next = next.nextElementSibling;
        this.el.append(passed);
      }
      if (next === element) next = next.nextElementSibling;
      else this.el.insertBefore(element, next);
    }
    if (place >= 0 && !focused.isConnected) this.refocus(rows[place] || _.last(rows), focused);
  }),

  visibleRows() {
    const rows = _.sortBy(this.rows, row => todos.comparator(row.model));
    const isShown = filters[page.get('filter')];
    return rows.filter(row => row.isEditing || isShown(row.model));
  },

  // The row with the focus has left. Whoever was ticking off goes on ticking off.
  refocus(row, focused) {
    if (!row) return this.trigger('abandoned');
    row.$(focused.matches('.toggle') ? '.toggle' : '.title').trigger('focus');
  }
});

// The page around the list
// ------------------------

const AppView = Backbone.View.extend({
  el: '.page',
  emptyTemplate: _.template($('#empty-template').html()),

  events: {
    'submit .composer': 'create',
    'change .toggle-all': 'toggleAll',
    'click .clear-completed': 'clearCompleted',
    'click .dismiss': 'dismiss'
  },

  initialize() {
    this.list = new ListView();
    this.listenTo(this.list, 'abandoned', this.focusInput);
    this.listenTo(todos, 'update change:completed', this.render);
    this.listenTo(todos, 'error', this.complain);
    this.listenTo(todos, 'request', this.forget);
    this.listenTo(page, 'change', this.render);
  },

  render: soon(function() {
    const filter = page.get('filter');
    const left = todos.active().length;
    const done = todos.length - left;
    this.$('.summary, .controls').prop('hidden', !todos.length);
    this.$('.counter').text(`${left} ${left === 1 ? 'item' : 'items'} left`);
    this.$('.toggle-all').prop({checked: done > 0 && !left, indeterminate: done > 0 && left > 0});
    this.$('.clear-completed').prop('hidden', !done);
    this.$('[data-filter]').each((index, link) => {
      $(link).attr('aria-current', link.dataset.filter === filter ? 'true' : null);
    });
    this.renderEmpty(filter);
  }),

  renderEmpty(filter) {
    const isEmpty = page.get('loaded') && !todos.some(filters[filter]);
    this.$('.empty').prop('hidden', !isEmpty);
    if (!isEmpty) return;
    const facts = {filter, total: todos.length, page: location.pathname};
    this.$('.empty').html(this.emptyTemplate(facts));
  },

  create(event) {
    event.preventDefault();
    const title = tidy(this.$('.new-todo').val());
    if (!title) return;
    this.$('.new-todo').val('');
    todos.create({title}, own);
  },

  toggleAll(event) {
    const completed = event.target.checked;
    _.invoke(completed ? todos.active() : todos.completed(), 'save', {completed}, own);
  },

  clearCompleted() {
    _.invoke(todos.completed(), 'discard');
    this.focusInput();
  },

  complain(source, xhr) {
    const what = source === todos ? 'The list could not be read'
      : `The change to “${source.name()}” did not go through`;
    const why = xhr.responseJSON && xhr.responseJSON.message || xhr.statusText || 'no answer';
    this.$('.reason').text(`${what}: ${why}`);
    this.$('.error').prop('hidden', false);
  },

  // With the next attempt the old complaint has had its time.
  forget() {
    this.$('.error').prop('hidden', true);
  },

  dismiss() {
    this.forget();
    this.focusInput();
  },

  focusInput() {
    this.$('.new-todo').trigger('focus');
  }
});

// The light
// ---------

// The only part that knows there is a connection: it shows how that is doing, and drops it on
// request so that you can see what happens to the rest. (Nothing gets lost.)
const ConnectionView = Backbone.View.extend({
  el: '.connection',
  events: {'click .drop': 'toggle'},

  initialize() {
    this.listenTo(Backwire, 'status', this.render);
    this.$el.prop('hidden', false);
    this.render();
  },

  render() {
    const {state, unsent} = Backwire.status;
    const word = {online: 'Online', connecting: 'Connecting', offline: 'Offline'}[state];
    // While online nothing waits for longer than it takes to read about it.
    const text = unsent && state !== 'online' ? `${word}, ${unsent} unsent` : word;
    this.$('.light').attr('data-state', state);
    if (this.$('.light').text() !== text) this.$('.light').text(text);
    this.$('.drop').text(state === 'offline' ? 'Go online' : 'Go offline');
  },

  toggle() {
    if (Backwire.status.state === 'offline') Backwire.connect();
    else Backwire.disconnect();
  }
});

// Start
// -----

const Router = Backbone.Router.extend({
  routes: {'*filter': 'show'},

  show(name) {
    page.set('filter', _.has(filters, name) ? name : 'all');
  }
});

new AppView().render();
if (window.Backwire) new ConnectionView();
new Router();
Backbone.history.start();

todos.fetch(_.extend({success: () => page.set('loaded', true)}, own));
