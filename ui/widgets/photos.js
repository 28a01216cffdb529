// The photo strip: thumbnails, a tile that adds photos, examples, and a button for the webcam.
// Photos come by a click, a drop anywhere on the page, a paste, or the webcam. Names are shown as text only.
//
// A photo is {path, url, name, truth}: `path` is what the server reads, `url` what the page shows.
window.zoo.photos = (() => {
  const EXAMPLE = 'example:'; // begins the path of an example
  const strips = new Map(); // elem_id -> strip, so that the camera finds its own

  function make(tag, className, attributes = {}, ...children) {
    const node = document.createElement(tag);
    node.className = className;
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    node.append(...children);
    return node;
  }

  // What the strip holds, for this tab alone, so that the page can be loaded again with its photos.
  const stored = (name) => `zoo.photos.${name}`;
  const store = (name, value) => {
    try { sessionStorage.setItem(stored(name), JSON.stringify(value)); } catch { /* storage is switched off */ }
  };

  // Why an upload failed, from gradio's error.
  function reason(error) {
    const text = String(error?.message ?? '');
    if (/HTTP 5\d\d/.test(text)) return 'the server could not store it, perhaps for want of space. Try again later.';
    if (/fetch|connection|network/i.test(text)) return 'the server cannot be reached. Try again.';
    return text ? `${text.replace(/\.$/, '')}.` : 'try again.';
  }

  const plural = (count) => (count === 1 ? '1 photo' : `${count} photos`);
  const same = (one, other) => one.path === other.path;

  class Strip {
    // props: value (photos), examples (photos), most (how many photos the strip takes).
    constructor(element, props, upload, tell) {
      Object.assign(this, { element, props, upload, tell });
      this.previews = new Map(); // path -> address of the visitor's own copy: nothing is loaded back from the server
      this.waiting = []; // tiles of the photos that are on their way
      this.atStart = true; // nothing was added or taken away yet
      this.build();
      this.listen();
      this.draw();
    }

    build() {
      this.webcam = make('button', 'photos-webcam', { type: 'button', 'aria-expanded': 'false' }, 'Webcam');
      const hint = make('small', '', {}, 'drop, paste or browse');
      const head = make('div', 'photos-head', {}, make('b', '', {}, 'Photos'), hint, this.webcam);
      this.file = make('input', '', { type: 'file', accept: 'image/*', multiple: '', 'aria-label': 'Add photos' });
      const plus = make('span', '', { 'aria-hidden': 'true' }, '+');
      this.add = make('li', 'photos-add', { title: 'Add photos' }, make('label', '', {}, this.file, plus));
      this.list = make('ul', 'photos-list', { 'aria-label': 'Chosen photos' }, this.add);
      this.examples = this.props.examples.map((photo) => this.example(photo));
      const examples = make('div', 'photos-examples', { role: 'group', 'aria-label': 'Examples' });
      examples.append(make('small', '', {}, 'Examples'), ...this.examples);
      this.status = make('p', 'photos-status', { role: 'status' });
      const all = make('div', 'photos', { role: 'group', 'aria-label': 'Photos' });
      all.append(head, this.list, examples, this.status);
      this.element.replaceChildren(all);
    }

    // A second press takes the example away again.
    example(photo) {
      const image = make('img', '', { src: this.thumbnail(photo), alt: '' });
      const named = { title: photo.name, 'aria-label': `Example ${photo.name}` };
      const button = make('button', '', { type: 'button', ...named }, image);
      button.addEventListener('click', () => {
        const value = this.value, rest = value.filter((one) => !same(one, photo));
        if (rest.length < value.length) this.change(rest, `${photo.name} removed.`);
        else if (this.room < 1) this.say(this.full(1));
        else this.change([...value, { ...photo }], `${photo.name} added.`);
      });
      return button;
    }

    listen() {
      this.file.addEventListener('change', () => { this.take([...this.file.files]); this.file.value = ''; });
      this.webcam.addEventListener('click', () => this.camera(this.webcam.getAttribute('aria-expanded') !== 'true'));
      const until = new AbortController(); // gradio builds the strip anew when its tab is opened again
      const on = (name, act) => document.addEventListener(name, (event) => {
        if (!this.element.isConnected) return until.abort();
        if (this.element.offsetParent && !event.defaultPrevented) act(event);
      }, { signal: until.signal });
      on('paste', (event) => { if (event.clipboardData?.files.length) this.take([...event.clipboardData.files]); });
      on('dragover', (event) => { if (this.hold(event)) event.preventDefault(); });
      on('dragleave', (event) => { if (!event.relatedTarget) this.hold(null); });
      on('drop', (event) => {
        if (!this.hold(event)) return;
        event.preventDefault(); // or the browser leaves the page to show the file
        this.hold(null);
        this.take([...event.dataTransfer.files]);
      });
    }

    // Whether something is held over the page that the strip takes; the tile that adds photos shows it.
    hold(event) {
      const files = Boolean(event?.dataTransfer?.types.includes('Files'));
      this.add.classList.toggle('photos-over', files);
      return files;
    }

    get value() { return this.props.value || []; }

    get room() { return this.props.most - this.value.length - this.waiting.length; }

    thumbnail(photo) {
      if (photo.path.startsWith(EXAMPLE)) return window.zoo.address(`${photo.url}?thumbnail`);
      return this.previews.get(photo.path) ?? photo.url;
    }

    say(text) { this.status.textContent = text; }

    full(count) { return `${plural(count)} not added: at most ${this.props.most} at a time.`; }

    // What a visitor does; the server's changes come through props.
    change(value, said) {
      this.atStart = false;
      this.mine = value;
      this.props.value = value;
      this.draw();
      store(this.props.name, value);
      this.say(said);
      this.tell.input();
    }

    draw() {
      const value = this.value;
      for (const tile of this.list.querySelectorAll('.photos-tile')) tile.remove();
      this.add.before(...value.map((photo) => this.tile(photo)), ...this.waiting);
      this.add.hidden = this.room < 1;
      this.examples.forEach((button, i) => {
        button.setAttribute('aria-pressed', String(value.some((photo) => same(photo, this.props.examples[i]))));
      });
      for (const [path, address] of this.previews) {
        if (value.some((photo) => photo.path === path)) continue;
        URL.revokeObjectURL(address);
        this.previews.delete(path);
      }
    }

    tile(photo) {
      const named = { title: `Remove ${photo.name}`, 'aria-label': `Remove ${photo.name}` };
      const cross = make('button', 'photos-remove', { type: 'button', ...named }, '×');
      cross.addEventListener('click', () => this.remove(photo));
      const image = make('img', '', { src: this.thumbnail(photo), alt: photo.name, title: photo.name });
      return make('li', 'photos-tile', {}, image, cross);
    }

    remove(photo) {
      const at = this.value.indexOf(photo);
      this.change(this.value.filter((_, i) => i !== at), `${photo.name} removed.`);
      (this.list.querySelectorAll('.photos-remove')[at] ?? this.file).focus(); // the focus stays in the strip
    }

    // Upload files, and add those that the server took.
    async take(files) {
      const images = files.filter((file) => !file.type || file.type.startsWith('image/'));
      const taken = images.slice(0, Math.max(0, this.room + this.replaced.length));
      const others = files.length - images.length;
      const troubles = others ? [`Not photos: ${others} of ${files.length} files.`] : [];
      if (taken.length < images.length) troubles.push(this.full(images.length - taken.length));
      if (!taken.length) return this.say(troubles.join(' '));
      this.say(`Uploading ${plural(taken.length)} …`);
      const sent = await Promise.all(taken.map((file) => this.send(file, troubles)));
      const photos = sent.filter((photo) => photo);
      if (!photos.length) return this.say(troubles.join(' '));
      this.append(photos, troubles);
    }

    // The examples that stood there at the start; a visitor's first own photos replace them.
    get replaced() { return this.atStart ? this.value.filter((photo) => photo.path.startsWith(EXAMPLE)) : []; }

    append(photos, troubles = []) {
      const replaced = this.replaced;
      const kept = this.value.filter((photo) => !replaced.includes(photo));
      this.change([...kept, ...photos], [`${plural(photos.length)} added.`, ...troubles].join(' '));
    }

    // Upload one file. -> a photo, or null after adding a sentence to the troubles
    async send(file, troubles) {
      const preview = URL.createObjectURL(file);
      const image = make('img', '', { src: preview, alt: `Uploading ${file.name}` });
      const tile = make('li', 'photos-tile photos-waiting', { 'aria-busy': 'true' }, image);
      this.waiting.push(tile);
      this.add.before(tile);
      try {
        const { path, url } = await this.upload(file);
        this.previews.set(path, preview);
        return { path, url, name: file.name, truth: '' };
      } catch (error) {
        URL.revokeObjectURL(preview);
        troubles.push(`${file.name} was not uploaded: ${reason(error)}`);
        return null;
      } finally {
        this.waiting.splice(this.waiting.indexOf(tile), 1);
        tile.remove();
      }
    }

    camera(open) {
      this.webcam.setAttribute('aria-expanded', String(open));
      this.tell.webcam(open);
    }

    // A photo that gradio's camera took and uploaded.
    captured({ path, url }) {
      const taken = this.value.filter((photo) => photo.name.startsWith('webcam ')).length;
      const photo = { path, url, name: `webcam ${taken + 1}${path.match(/\.\w+$/)?.[0] ?? ''}`, truth: '' };
      this.camera(false);
      this.webcam.focus();
      if (this.room + this.replaced.length < 1) this.say(this.full(1));
      else this.append([photo]);
    }
  }

  return {
    // A strip that is a part of gradio's; tell.input() and tell.webcam(open) are its events.
    part(element, props, watch, upload, tell) {
      const strip = new Strip(element, props, upload, tell);
      strips.set(props.name, strip);
      watch('value', () => {
        // The page's own photos come a moment after the strip: a visitor who was quicker is not overruled.
        const { mine } = strip;
        strip.mine = null;
        if (mine && !strip.arrived) strip.change(mine, '');
        else {
          strip.atStart = true;
          strip.draw();
          store(props.name, strip.value);
        }
        strip.arrived = true;
      });
    },
    // The photos that the strip held before the page was loaded again; null if it is opened anew.
    kept(name) {
      const [visit] = performance.getEntriesByType('navigation');
      try { return visit?.type === 'reload' ? JSON.parse(sessionStorage.getItem(stored(name))) : null; } catch { return null; }
    },
    captured(name, photo) {
      if (photo) strips.get(name).captured(photo);
      return null; // which clears the camera
    },
  };
})();
