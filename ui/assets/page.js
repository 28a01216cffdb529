// What the browser does by itself on the page: views, full screen, files, links. The widgets are in ui/widgets/.
// gr.HTML calls these from js_on_load with what gradio hands over; an event is found only if its name stands there in quotes.
window.zoo = window.zoo || {};

zoo.answer = () => document.querySelector('#answer');

zoo.setOpacity = (share) => {
  document.documentElement.style.setProperty('--heat', share);
  const query = new URLSearchParams(location.search);
  if (!query.has('model')) return;
  query.set('opacity', Number(share).toFixed(2));
  zoo.showAddress(query.toString());
};

zoo.download = (file) => {
  if (!file) return;
  const link = document.createElement('a');
  link.download = file.name; // the file goes straight to the visitor and is not written on the server
  link.href = `data:application/octet-stream;base64,${file.content}`;
  link.click();
};

// A slider has no event that tells its end for the keyboard, too: of the moves of one, only the last gives a new text.
const STILL = 250; // milliseconds
const moves = {};

zoo.whenStill = async (slider, before) => {
  const mine = moves[slider] = (moves[slider] || 0) + 1;
  await new Promise((resolve) => { setTimeout(resolve, STILL); });
  return mine === moves[slider] ? `changed ${Date.now()}` : before;
};

// On a narrow screen the answer comes after the button: show it when it is there.
zoo.scrollWhenAnswered = () => { zoo.scrolls = matchMedia('(max-width: 900px)').matches; };

// That the server does not answer is told by gradio, in a toast whose words cannot be set, and which stays until it has
// loaded the page again.
const LOST = 'Connection to the server was lost';
const TOLD = 'The server does not answer: it was stopped, or the network is down. The page loads again by itself as soon as it answers.';

new MutationObserver(() => document.querySelectorAll('.toast-message-text').forEach((said) => {
  if (said.textContent.startsWith(LOST)) said.textContent = TOLD;
})).observe(document.documentElement, { childList: true, subtree: true });

// A button in a line of text: <button data-do="..." data-value="...">.
zoo.buttons = (element, trigger) => element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-do]');
  if (button) trigger('select', { ...button.dataset });
});

zoo.fold = (element) => {
  const button = element.querySelector('button');
  button.addEventListener('click', () => {
    const open = document.querySelector('#explanation').classList.toggle('open');
    button.setAttribute('aria-expanded', open);
  });
};

// ------------------------------------------------------------------------------------------------ the cards
// They come as HTML in `value`. What a visitor has set (the view) is kept on `element`, which gradio does not replace.
zoo.results = (element, trigger, watch) => {
  element.dataset.now ||= 'overlay';
  const answered = () => {
    zoo.markView(element);
    element.querySelectorAll('.truth').forEach((box) => zoo.trueClass(box, trigger));
    delete zoo.answer()?.dataset.stale;
    if (zoo.scrolls) element.scrollIntoView({ block: 'start' });
    zoo.scrolls = false;
  };
  element.addEventListener('click', (event) => zoo.clickInCards(event, element, trigger));
  element.addEventListener('keydown', zoo.moveRing);
  watch('value', answered);
  zoo.markView(element);
};

zoo.markView = (element) => {
  const mark = (button, on) => button.setAttribute('aria-pressed', String(on));
  element.querySelectorAll('[data-view]').forEach((button) => mark(button, button.dataset.view === element.dataset.now));
  element.querySelectorAll('[data-guess]').forEach((button) => mark(button, element.hasAttribute('data-guessing')));
};

zoo.clickInCards = (event, element, trigger) => {
  const on = (selector) => event.target.closest(selector);
  const view = on('[data-view]'), bar = on('[data-class]'), saved = on('[data-save]'), stack = on('.stack.asks');
  if (view) {
    element.dataset.now = view.dataset.view;
    zoo.markView(element);
  } else if (bar) {
    trigger('select', { class: bar.dataset.class });
  } else if (saved) {
    const { asked } = element.querySelector('.cards').dataset;
    trigger('download', { kind: saved.dataset.save, photo: saved.dataset.photo, asked });
  } else if (on('[data-guess]')) {
    element.toggleAttribute('data-guessing');
    zoo.markView(element);
  } else if (on('[data-reveal]')) {
    on('.card').setAttribute('data-revealed', '');
  } else if (on('[data-screen]')) {
    element.requestFullscreen?.();
  } else if (stack) {
    const [down, across] = zoo.placeOf(event, stack);
    trigger('select', { photo: stack.dataset.photo, down, across });
  }
};

// Arrow keys move a ring over the photo by a twentieth of its side; Enter, a button's own key, asks about that place.
const STEPS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

zoo.moveRing = (event) => {
  const stack = event.target.closest('.stack.asks');
  if (!stack || !STEPS[event.key]) return;
  event.preventDefault();
  const ring = stack.querySelector('.ring') || stack.appendChild(Object.assign(document.createElement('i'), { className: 'ring' }));
  const moved = (now, by) => Math.min(97.5, Math.max(2.5, (parseFloat(now) || 50) + 5 * by));
  const [down, across] = STEPS[event.key];
  Object.assign(ring.style, { top: `${moved(ring.style.top, down)}%`, left: `${moved(ring.style.left, across)}%` });
};

// Where in a photo was clicked, from 0 to 1; a click by keyboard has no place of its own and takes the ring's.
zoo.placeOf = (event, stack) => {
  const box = stack.getBoundingClientRect(), ring = stack.querySelector('.ring');
  if (event.detail > 0) return [(event.clientY - box.top) / box.height, (event.clientX - box.left) / box.width];
  return ring ? [parseFloat(ring.style.top) / 100, parseFloat(ring.style.left) / 100] : [0.5, 0.5];
};

// What a photo really shows, said by a person: a combobox of the model's classes in its card.
zoo.trueClass = (box, trigger) => {
  const { photo, truth, rows } = box.dataset;
  zoo.combobox(box, { label: 'True class', value: truth, rows, optional: true, placeholder: 'unknown' },
    (value) => trigger('edit', { photo: Number(photo), truth: value }));
};

// ------------------------------------------------------------------------------------------------ texts to copy
zoo.copy = (element) => element.addEventListener('click', async (event) => {
  const button = event.target.closest('[data-copy]');
  if (!button) return;
  const from = element.querySelector('pre, input');
  try {
    await navigator.clipboard.writeText(from.value ?? from.textContent);
    button.textContent = 'Copied';
  } catch { // without https there is no clipboard
    from.select?.();
    button.textContent = 'Press Ctrl+C';
  }
  setTimeout(() => { button.textContent = 'Copy'; }, 1500);
});

zoo.here = () => `${location.origin}${location.pathname}`;

// A program; it holds the text PAGE_ADDRESS where the page's own address belongs.
zoo.code = (element, props, watch) => {
  const show = () => { element.querySelector('code').textContent = String(props.value).replaceAll('PAGE_ADDRESS', zoo.here()); };
  zoo.copy(element);
  watch('value', show);
  show();
};

zoo.showAddress = (query) => {
  history.replaceState(null, '', `?${query}${location.hash}`);
  document.querySelector('#link input').value = `${zoo.here()}?${query}`;
};

// value: the query of the shown choice; the address bar follows it.
zoo.linkBox = (element, props, watch) => {
  zoo.copy(element);
  watch('value', () => zoo.showAddress(props.value));
};

// ------------------------------------------------------------------------------------------------ small multiples
// Frames come one by one as HTML in `value`. The selected one is drawn large; the slider and Play go through them.
zoo.frames = (element, watch) => {
  let at = 0, timer = null;
  const tiles = () => [...element.querySelectorAll('[data-frame]')];
  const show = (number) => {
    const all = tiles(), slider = element.querySelector('input[type=range]');
    if (!all.length || !slider) return;
    at = Math.max(0, Math.min(number, all.length - 1));
    Object.assign(slider, { max: all.length - 1, value: at });
    element.querySelector('.big').replaceChildren(all[at].querySelector('.stack').cloneNode(true));
    element.querySelector('output').textContent = all[at].querySelector('b').textContent;
    all.forEach((tile, i) => tile.setAttribute('aria-pressed', String(i === at)));
  };
  const play = (on) => {
    clearInterval(timer);
    timer = on ? setInterval(() => (element.isConnected ? show((at + 1) % tiles().length) : play(false)), 700) : null;
    const button = element.querySelector('[data-play]');
    if (button) button.textContent = on ? 'Pause' : 'Play';
  };
  element.addEventListener('click', (event) => {
    const tile = event.target.closest('[data-frame]');
    if (event.target.closest('[data-play]')) play(!timer);
    else if (tile) { play(false); show(Number(tile.dataset.frame)); }
  });
  element.addEventListener('input', (event) => { play(false); show(Number(event.target.value)); });
  watch('value', () => { play(false); show(tiles().length - 1); });
};
