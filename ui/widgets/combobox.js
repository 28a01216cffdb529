// The page's combobox: a text field that searches a list. The ARIA pattern "editable combobox with list autocomplete".
//
// zoo.combobox(element, options, onChoose) builds one inside an element; onChoose(value) is called when a person
// chooses. `set(options)` changes options later. Options:
//   value, rows    rows.js says what a row is; `rows` may be the address of a JSON list of them
//   label          shown above the field; without one, `named` tells a screen reader what the field is
//   optional       the value may be empty: the field has a clear button, and an emptied field clears the value
//   free           any text that fits no row is taken as it is, and any whole number
//   placeholder    shown in the empty field
//   width          least width of the list in pixels, where the page is that wide
//   hint           whether the chosen row's `below` is shown under the field
window.zoo.combobox = (() => {
  const VALUE = 0, LABEL = 1, RIGHT = 2, TAG = 3, BELOW = 4, GROUP = 5, REASON = 6;
  const STEP = 60; // options drawn at a time
  const PAGE = 8; // options that Page Up and Page Down pass over
  const DEFAULTS = {
    value: '', rows: [], label: '', named: '', optional: false, free: false, placeholder: '', width: 0, hint: false,
  };
  let count = 0;

  function make(tag, className, attributes = {}, text = '') {
    const node = document.createElement(tag);
    node.className = className;
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    node.textContent = text;
    return node;
  }

  class Combobox {
    constructor(element, options, onChoose) {
      this.options = { ...DEFAULTS };
      this.onChoose = onChoose;
      this.rows = [];
      this.shown = []; // the rows that fit
      this.at = -1; // the active one of them
      this.drawn = 0; // how many of them are in the document
      this.typed = false; // whether the field holds a search rather than the choice
      this.trouble = ''; // why there are no rows
      this.entered = false; // whether Enter was pressed before the rows had come
      this.build(element, `combo-${++count}`);
      this.listen();
      this.set(options);
    }

    build(element, id) {
      this.title = make('label', 'combo-label', { for: `${id}-input` });
      this.input = make('input', 'combo-input', {
        id: `${id}-input`, role: 'combobox', type: 'text', autocomplete: 'off', autocapitalize: 'off',
        spellcheck: 'false', 'aria-autocomplete': 'list', 'aria-expanded': 'false', 'aria-haspopup': 'listbox',
        'aria-controls': `${id}-list`, 'aria-describedby': `${id}-right ${id}-below`,
      });
      this.right = make('span', 'combo-right', { id: `${id}-right` });
      // Not a tab stop of its own: by keyboard, an emptied field clears.
      this.clear = make('button', 'combo-clear', { type: 'button', tabindex: '-1' }, '×');
      this.box = make('div', 'combo-box');
      this.box.append(this.input, this.right, this.clear);
      this.below = make('p', 'combo-below', { id: `${id}-below` });
      // A popover lies in the top layer, where no scrolling parent cuts it off.
      this.popup = make('div', 'combo-popup', { popover: 'manual' });
      this.list = make('div', 'combo-list', { id: `${id}-list`, role: 'listbox' });
      this.foot = make('div', 'combo-foot', { role: 'status' });
      this.popup.append(this.list, this.foot);
      element.replaceChildren(this.title, this.box, this.popup, this.below);
    }

    listen() {
      const { input, list } = this;
      input.addEventListener('focus', () => { this.load(); input.select(); });
      input.addEventListener('blur', () => this.leave());
      input.addEventListener('input', () => { this.entered = false; this.typed = true; this.open(); this.search(); });
      input.addEventListener('keydown', (event) => this.press(event));
      this.box.addEventListener('click', (event) => {
        if (event.target === this.clear) return;
        input.focus();
        if (this.isOpen) return event.target === input ? undefined : this.close();
        this.open();
        requestAnimationFrame(() => { if (!this.typed) input.select(); }); // a click into selected text clears it after this event
      });
      this.clear.addEventListener('click', () => { this.take(''); input.focus(); });
      this.popup.addEventListener('mousedown', (event) => event.preventDefault()); // the field keeps the focus
      list.addEventListener('click', (event) => {
        const option = event.target.closest('[role=option]');
        if (option) this.choose(this.shown[Number(option.dataset.at)]);
      });
      list.addEventListener('scroll', () => {
        if (list.scrollTop + list.clientHeight > list.scrollHeight - 80) this.draw(this.drawn + STEP);
      });
      this.follow = (event) => { if (!this.popup.contains(event.target)) this.place(); };
    }

    set(options) {
      for (const name of Object.keys(DEFAULTS)) if (options[name] !== undefined) this.options[name] = options[name];
      const { label, named, placeholder, rows } = this.options;
      this.title.textContent = label;
      this.title.hidden = !label;
      for (const node of label ? [this.list] : [this.list, this.input]) node.setAttribute('aria-label', label || named);
      this.clear.setAttribute('aria-label', `Clear ${label || named}`);
      this.input.placeholder = placeholder;
      if (rows !== this.source) {
        this.source = rows;
        this.rows = Array.isArray(rows) ? rows : [];
        this.loading = null;
      }
      if (this.options.value || this.isOpen) this.load();
      this.refresh();
    }

    // Fetch the rows if they are elsewhere: when the value needs its label, or a person comes to the field.
    load() {
      const address = this.source;
      if (typeof address !== 'string' || this.loading) return;
      this.trouble = '';
      const arrive = (rows, trouble) => {
        if (address !== this.source) return; // other rows are wanted by now
        Object.assign(this, { rows, trouble });
        if (trouble) this.loading = null; // the next visit asks again
        this.refresh();
        if (this.entered) this.enter();
      };
      this.loading = window.zoo.fetchRows(address);
      this.loading.then((rows) => arrive(rows, ''), () => arrive([], 'The list could not be loaded: try again.'));
    }

    refresh() {
      if (!this.typed) this.rest();
      if (this.isOpen) this.search();
    }

    get isLoading() { return typeof this.source === 'string' && !this.rows.length && !this.trouble; }

    get isOpen() { return this.popup.matches(':popover-open'); }

    // Show the choice, not a search.
    rest() {
      const { value, hint, optional } = this.options;
      const row = this.rows.find((one) => one[VALUE] === value) ?? [value];
      this.typed = false;
      this.input.value = row[LABEL] ?? row[VALUE];
      this.right.textContent = row[RIGHT] ?? '';
      this.below.textContent = hint ? row[BELOW] ?? '' : '';
      this.clear.hidden = !optional || !value;
    }

    open() {
      if (this.isOpen) return;
      this.load();
      this.popup.showPopover();
      this.input.setAttribute('aria-expanded', 'true');
      addEventListener('scroll', this.follow, true);
      addEventListener('resize', this.follow);
      this.search();
    }

    close() {
      this.entered = false;
      if (this.isOpen) this.popup.hidePopover();
      removeEventListener('scroll', this.follow, true);
      removeEventListener('resize', this.follow);
      this.input.setAttribute('aria-expanded', 'false');
      this.input.removeAttribute('aria-activedescendant');
      this.rest();
    }

    leave() {
      if (this.typed && !this.input.value.trim() && this.options.optional) this.take('');
      else this.close();
    }

    search() {
      const query = this.typed ? this.input.value.trim() : '';
      this.shown = window.zoo.find(this.rows, query);
      this.right.textContent = this.typed ? '' : this.right.textContent;
      this.list.replaceChildren();
      this.drawn = 0;
      this.group = null;
      this.draw(STEP);
      this.activate(this.first(query));
      this.place();
    }

    // The option that Enter takes: the one of that name, or else the best that can be chosen.
    first(query) {
      if (!this.typed) return this.shown.findIndex((row) => row[VALUE] === this.options.value);
      if (!query || !this.shown.length) return -1;
      if (window.zoo.isExact(this.shown[0], query)) return 0;
      if (this.options.free && /^\d+$/.test(query)) return -1;
      return this.shown.findIndex((row) => !row[REASON]);
    }

    // Draw options up to a number of them.
    draw(end) {
      const stop = Math.min(end, this.shown.length);
      const grouped = !this.typed || !this.input.value.trim(); // the best first, in any group, once something was typed
      for (; this.drawn < stop; this.drawn++) {
        const row = this.shown[this.drawn];
        (grouped && row[GROUP] ? this.groupOf(row) : this.list).append(this.option(row, this.drawn));
      }
      this.foot.textContent = this.told();
    }

    groupOf(row) {
      if (this.group?.name !== row[GROUP]) {
        const node = make('div', 'combo-group', { role: 'group', 'aria-label': row[GROUP] });
        node.append(make('div', 'combo-heading', { 'aria-hidden': 'true' }, row[GROUP]));
        this.list.append(node);
        this.group = { name: row[GROUP], node };
      }
      return this.group.node;
    }

    option(row, at) {
      const chosen = String(row[VALUE] === this.options.value);
      const id = `${this.list.id}-${at}`;
      const node = make('div', 'combo-option', { id, role: 'option', 'aria-selected': chosen });
      node.dataset.at = at;
      node.append(make('span', 'combo-name', {}, row[LABEL] ?? row[VALUE]));
      if (row[TAG]) node.append(make('span', 'combo-tag', {}, row[TAG]));
      if (row[RIGHT]) node.append(make('span', 'combo-right', {}, row[RIGHT]));
      if (row[REASON] || row[BELOW]) node.append(make('small', '', {}, row[REASON] || row[BELOW]));
      if (row[REASON]) node.setAttribute('aria-disabled', 'true');
      return node;
    }

    // The line at the foot of the list.
    told() {
      const text = this.input.value.trim(), total = this.shown.length.toLocaleString('en');
      if (this.trouble) return this.trouble;
      if (this.isLoading) return 'Loading …';
      if (!this.shown.length) return this.empty(text);
      if (this.drawn < this.shown.length) return `${this.drawn} of ${total} shown, scroll for more`;
      return `${total} in all`;
    }

    empty(text) {
      if (text) return this.options.free ? `No such name; Enter takes “${text}”` : `Nothing fits “${text}”`;
      return this.options.free ? 'Type a value, then press Enter' : 'Nothing to choose from';
    }

    activate(at) {
      this.at = at;
      this.list.querySelector('.combo-active')?.classList.remove('combo-active');
      if (at >= this.drawn) this.draw(at + STEP);
      const node = document.getElementById(`${this.list.id}-${at}`);
      if (!node) return this.input.removeAttribute('aria-activedescendant');
      node.classList.add('combo-active');
      node.scrollIntoView({ block: 'nearest' });
      this.input.setAttribute('aria-activedescendant', node.id);
    }

    press(event) {
      const last = this.shown.length - 1;
      const goals = {
        ArrowDown: this.at + 1, ArrowUp: this.at - 1, PageDown: this.at + PAGE, PageUp: this.at - PAGE,
        Home: 0, End: last,
      };
      if (event.isComposing || event.shiftKey || event.ctrlKey || event.metaKey) return;
      if (event.key === 'Enter') {
        event.preventDefault();
        this.enter();
      } else if (event.key === 'Escape' && this.isOpen) {
        event.stopPropagation();
        this.close();
        this.input.select();
      } else if (event.key.startsWith('Arrow') && event.key in goals && !this.isOpen) {
        event.preventDefault();
        this.open();
      } else if (event.key in goals && this.isOpen) {
        event.preventDefault();
        this.activate(Math.max(Math.min(goals[event.key], last), Math.min(0, last)));
      }
    }

    enter() {
      const row = this.shown[this.at], text = this.input.value.trim();
      this.entered = this.isOpen && this.isLoading;
      if (this.entered) return;
      if (!this.isOpen) this.open();
      else if (row) this.choose(row);
      else if (this.typed && (text ? this.options.free : this.options.optional)) this.take(text);
    }

    choose(row) {
      if (!row[REASON]) this.take(row[VALUE]);
    }

    take(value) {
      const changed = value !== this.options.value;
      this.options.value = value;
      this.close();
      if (document.activeElement === this.input) this.input.select();
      if (changed) this.onChoose(value);
    }

    // Under the field, or above it where there is more space; never wider than the page.
    place() {
      const box = this.box.getBoundingClientRect(), gap = 4, margin = 8;
      const seen = window.visualViewport?.height ?? innerHeight; // less than innerHeight above a phone's keyboard
      const under = seen - box.bottom - gap - margin, over = box.top - gap - margin;
      const up = under < 220 && over > under;
      const across = document.documentElement.clientWidth - 2 * margin;
      const width = Math.min(Math.max(box.width, this.options.width), across);
      const left = Math.max(margin, Math.min(box.left, across + margin - width));
      const height = Math.max(120, Math.min(420, up ? over : under));
      Object.assign(this.popup.style, {
        width: `${width}px`, left: `${left}px`, maxHeight: `${height}px`,
        top: up ? 'auto' : `${box.bottom + gap}px`, bottom: up ? `${innerHeight - box.top + gap}px` : 'auto',
      });
    }
  }

  return (element, options, onChoose) => new Combobox(element, options, onChoose);
})();

// A combobox that is a part of gradio's: its options are the part's props.
window.zoo.comboboxPart = (element, props, watch, onInput) => {
  const box = window.zoo.combobox(element, props, (value) => { props.value = value; onInput(); });
  watch(['value', 'rows', 'label', 'placeholder', 'optional', 'free', 'hint'], () => box.set(props));
};
