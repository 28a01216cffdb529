// The rows of a combobox: which of them fit what a person typed, and where a list of them comes from.
//
// A row is [value, label, right, tag, below, group, reason, searched]; all are strings, trailing empty ones may be left
// out. `reason` says why the row cannot be chosen. A row whose `searched` is "1" is listed only if something was typed.
window.zoo ??= {};

// zoo.find(rows, query): the rows that fit, the best first, equals in the order of the rows.
Object.assign(window.zoo, (() => {
  const EXACT = 0, PREFIX = 1, WORD = 2, INSIDE = 3, WORDS = 4, SCATTERED = 5, NONE = 6;
  const VALUE = 0, LABEL = 1, SEARCHED = 7;
  const texts = new WeakMap(); // rows -> what is searched of each: 22,000 rows are not made plain at each letter

  // Blanks, "*" and "_" are the same: "vit base" finds vit_base_patch16_224.
  const plain = (text) => text.toLowerCase().replace(/[\s*_]+/g, ' ').trim();

  function startsWord(text, part) {
    for (let at = text.indexOf(part); at >= 0; at = text.indexOf(part, at + 1)) {
      if (at === 0 || !/[\p{L}\p{N}]/u.test(text[at - 1])) return true;
    }
    return false;
  }

  // How well one text fits a query; both are plain.
  function fit(text, query) {
    if (text === query) return EXACT;
    if (text.startsWith(query)) return PREFIX;
    if (text.includes(query)) return startsWord(text, query) ? WORD : INSIDE;
    const words = query.split(' ');
    if (!words.every((word) => text.includes(word))) return NONE;
    return words.every((word) => startsWord(text, word)) ? WORDS : SCATTERED;
  }

  // A row is found by its label, and by its value where that differs.
  const searchable = (row) => [...new Set([plain(row[LABEL] ?? row[VALUE]), plain(row[VALUE])])];
  const best = (parts, query) => Math.min(...parts.map((text) => fit(text, query)));

  function find(rows, query) {
    const wanted = plain(query);
    if (!wanted) return rows.filter((row) => row[SEARCHED] !== '1');
    if (!texts.has(rows)) texts.set(rows, rows.map(searchable));
    const found = Array.from({ length: NONE + 1 }, () => []);
    texts.get(rows).forEach((parts, i) => found[best(parts, wanted)].push(rows[i]));
    return found.slice(0, NONE).flat();
  }

  const isExact = (row, query) => best(searchable(row), plain(query)) === EXACT;
  return { find, isExact };
})());

// zoo.address(path): a path of this page's server, also where the page is served below a root path.
window.zoo.address = (path) => new URL(path, location.origin + location.pathname.replace(/\/?$/, '/')).href;

// zoo.fetchRows(path): a promise of the rows at an address, which is asked once for all comboboxes of the page.
window.zoo.fetchRows = (() => {
  const asked = new Map();
  return (path) => {
    if (!asked.has(path)) {
      const rows = fetch(window.zoo.address(path)).then((answer) => {
        if (!answer.ok) throw new Error(`${answer.status}`);
        return answer.json();
      });
      rows.catch(() => asked.delete(path)); // the next who needs them asks again
      asked.set(path, rows);
    }
    return asked.get(path);
  };
})();
