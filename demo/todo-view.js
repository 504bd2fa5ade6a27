// One todo on the screen
// ======================
//
// A row is built once. After that `render` only writes what may have changed, so that the focus,
// and whatever is being typed, stays where it is when somebody else changes the todo.
const TodoView = Backbone.View.extend({
  tagName: 'li',
  className: 'todo wired',
  attributes: {'data-testid': 'todo'},
  template: _.template($('#todo-template').html()),

  events: {
    'change .toggle': 'toggle',
    'click .title': 'press',
    'dblclick .title': 'edit',
    'click .pencil': 'edit',
    'mousedown .cancel': 'stayInEditor',
    'click .cancel': 'abandon',
    'click .destroy': 'discard',
    'click .retry': 'retry',
    'keydown': 'keydown',
    'blur .edit': 'blur',
    'animationend': 'calm'
  },

  initialize() {
    this.isEditing = false;
    this.$el.html(this.template({cid: this.model.cid}));
    this.listenTo(this.model, 'change', this.changed);
    this.listenTo(this.model, 'request', () => this.mark('pending'));
    this.listenTo(this.model, 'sync', () => this.mark('saved'));
    this.listenTo(this.model, 'error', (todo, xhr, options) => {
      this.mark(options.deleting ? 'saved' : 'failed');
    });
    this.render();
  },

  render() {
    const name = this.model.name();
    const isCompleted = filters.completed(this.model);
    this.$el.toggleClass('completed', isCompleted);
    this.$el.attr('data-id', this.model.isNew() ? null : this.model.id);
    this.$('.toggle').prop('checked', isCompleted).attr('aria-label', `Completed: ${name}`);
    this.$('.title').text(name);
    this.$('.pencil').attr({'aria-label': `Edit ${name}`, title: 'Edit'});
    this.$('.destroy').attr({'aria-label': `Delete ${name}`, title: 'Delete'});
    return this;
  },

  changed(todo, options) {
    this.render();
    if (options.news === false) return;
    const isRenamed = todo.hasChanged('title');
    if (isRenamed || todo.hasChanged('completed')) this.highlight();
    if (isRenamed && this.isEditing) {
      this.meanwhile(`Somebody changed it to “${todo.name()}”. Cancel your edit to keep that.`);
    }
  },

  // Draws the eye for a moment to what somebody else did. If it is drawn already that is enough:
  // starting the animation anew would cost a layout for each todo of a burst.
  highlight() {
    this.$el.addClass('news');
  },

  calm() {
    this.$el.removeClass('news');
  },

  // How the latest save is doing: pending, saved or failed.
  mark(state) {
    this.$el.attr('data-save', state);
    this.$('.retry').prop('hidden', state !== 'failed');
  },

  toggle() {
    this.model.save({completed: this.$('.toggle').prop('checked')}, own);
  },

  discard() {
    this.model.discard();
  },

  retry() {
    this.$('.title').trigger('focus');
    this.model.save(null, own);
  },

  // Enter, space and screen readers press a button without a pointer, which is a click number 0.
  // A pointer has to double-click, so that a stray click does not start an edit.
  press(event) {
    if (event.detail === 0) this.edit();
  },

  keydown(event) {
    if (event.target.matches('.edit')) return this.editKeydown(event);
    if (event.key !== 'F2') return;
    event.preventDefault();
    this.edit();
  },

  // ### Editing

  edit() {
    if (this.isEditing) return;
    this.showEditor(true);
    this.$('.edit').val(this.model.get('title')).trigger('focus').trigger('select');
    this.before = this.$('.edit').val();
  },

  editKeydown(event) {
    // The Enter and Escape of an input method choose a character; they are not for us.
    if (event.originalEvent.isComposing) return;
    if (event.key === 'Enter') this.leave(event, () => this.commit(true));
    if (event.key === 'Escape') this.abandon(event);
  },

  // Without this, a press on the button would move the focus, and the blur of the input saves it.
  stayInEditor(event) {
    event.preventDefault();
  },

  abandon(event) {
    this.leave(event, () => this.cancel());
  },

  // The focus stays on the todo; if that goes away, the list finds another place for it.
  leave(event, finish) {
    event.preventDefault();
    finish();
    this.$('.title').trigger('focus');
  },

  blur(event) {
    // When another window comes to the front the input keeps its place in this one: go on later.
    if (document.activeElement !== event.target) this.commit(false);
  },

  // Only what was really changed here is saved: leaving an untouched input must not undo what
  // somebody else did to the title in the meantime.
  commit(isDeliberate) {
    if (!this.isEditing) return;
    const text = this.$('.edit').val();
    const isTouched = text !== this.before;
    this.cancel();
    if (!this.model.collection) this.keep(tidy(text), isTouched || isDeliberate);
    else if (isTouched) this.rename(tidy(text));
  },

  rename(title) {
    if (title) this.model.save({title}, own);
    else this.model.discard();
  },

  // The todo of this text is gone. The text need not be.
  keep(title, isWanted) {
    if (title && isWanted) todos.create({title, completed: this.model.get('completed')}, own);
  },

  cancel() {
    this.showEditor(false);
    this.trigger('edited', this);
  },

  showEditor(isEditing) {
    this.isEditing = isEditing;
    this.$el.toggleClass('editing', isEditing);
    this.$('.edit').prop('hidden', !isEditing);
    this.$('.title').prop('hidden', isEditing);
    this.meanwhile('');
  },

  // A change of the todo that arrived while it was being edited here.
  meanwhile(text) {
    this.$('.meanwhile').text(text);
  },

  // Somebody else deleted the todo during the edit. The row stays until the edit ends.
  orphan() {
    this.$('.toggle, .pencil, .destroy').prop('disabled', true);
    this.meanwhile('Somebody deleted it. Save your edit as a new todo, or cancel it.');
  }
});
