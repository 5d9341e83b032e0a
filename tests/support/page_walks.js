// What a walk needs inside of the page: to wait until the page is quiet, to find its controls, and to check what must
// always hold. The first line is made by page_walks.py and names `WALK`, the walk's constants.
(() => {
  if (!location.protocol.startsWith('http')) return;
  const { token, harmful, sections, known } = WALK;
  const DATA = '.word, .id, pre, code, input, textarea, datalist, [lang=en].note, script, noscript, style';
  // Of many elements that have one template, axe checks the first.
  const ALIKE = ['table.year td:nth-child(n+6)', 'tbody tr:nth-child(n+3)', 'svg > :nth-child(n+4)',
    'option:nth-child(n+3)'];
  const DEAR = ['color-contrast', 'target-size', 'region'];
  const TOLD = ['aria-label', 'title', 'placeholder', 'alt', 'abbr', 'data-value'];
  const names = new Set(known); // the ids for which the API has published a name
  const read = new Set(); // those whose names this page has read
  const errors = [];
  let running = 0;
  let disturbed = 0; // the state of the generator that draws how late a request is, and whether it fails; 0: none is
  const LATEST_MS = 600;
  const FAILING = 0.25;
  const draw = () => (disturbed = (disturbed * 48271) % 2147483647) / 2147483647;
  if (!sessionStorage.walks) Object.assign(sessionStorage, { walks: 1, ...token && { 'progress.token': token } });
  Object.assign(window, { print() {} });

  // A page that reloads itself is busy to its end: the next step is for the new one.
  navigation.addEventListener('navigate', ({ navigationType }) => { running += navigationType === 'reload'; });
  addEventListener('error', ({ message }) => errors.push(`uncaught error: ${message}`));
  addEventListener('unhandledrejection', ({ reason }) =>
    errors.push(`unhandled rejection: ${reason?.stack ?? reason}`));
  addEventListener('securitypolicyviolation', ({ effectiveDirective, blockedURI }) =>
    errors.push(`CSP report: ${effectiveDirective} ${blockedURI}`));

  const learn = (node) => {
    if (typeof node !== 'object' || !node) return;
    for (const [id, name] of [['userId', 'displayName'], ['itemId', 'headword'], ['groupId', 'name'], ['id', 'name']]) {
      if (node[id] && node[name]?.trim() && node[id] !== node[name]) for (const ids of [names, read]) ids.add(node[id]);
    }
    Object.values(node).forEach(learn);
  };
  const ask = fetch;
  window.fetch = async (...request) => {
    if (!new URL(request[0], location).pathname.endsWith('/graphql')) return ask(...request);
    running += 1;
    try {
      if (disturbed) {
        await new Promise((resolve) => { setTimeout(resolve, draw() * LATEST_MS); });
        if (draw() < FAILING) return new Response('', { status: 503 });
      }
      const response = await ask(...request);
      const body = await response.clone().json().catch(() => null);
      const isFault = body?.errors?.some(({ extensions }) => extensions?.code === 'INTERNAL');
      if (isFault) errors.push(`server: ${JSON.stringify(body.errors)}`);
      learn(body);
      return response;
    } finally {
      running -= 1;
    }
  };

  // Chromium may draw no frames of a tab behind another one.
  const frame = () => new Promise((resolve) => {
    requestAnimationFrame(() => setTimeout(resolve));
    setTimeout(resolve, 1_000);
  });
  // Each view has a heading; between two views, there is none.
  const isBusy = () => running || !document.querySelector('main h1')
    || document.querySelector('[data-arriving], [aria-busy=true], main .skeleton')
    || (navigator.onLine && document.querySelector('[data-key=problem-offline], #live.offline:not([hidden])'));
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const textOf = (element) => element.textContent.replace(/\s+/g, ' ').trim();
  const nameOf = (element) => textOf(element) || element.ariaLabel || element.title;
  const labelOf = (control) => (control.ariaLabel
    || all((control.getAttribute('aria-labelledby') ?? '').split(' ').filter(Boolean)
      .map((id) => `#${CSS.escape(id)}`).join() || 'none')
      .map(textOf).join(' ')
    || [...control.labels ?? []].map(textOf).join(' ') || control.title
    || (/^(INPUT|SELECT|TEXTAREA)$/.test(control.tagName) ? '' : nameOf(control) || all('[aria-label], title', control)
      .map((one) => one.ariaLabel || textOf(one)).join(' '))).trim();
  const isShown = (element) => element.checkVisibility({ visibilityProperty: true })
    && element.getClientRects().length > 0;

  /** The controls that a user can use now, by a key that is the same in the same state of the page. */
  function controls() {
    const counts = {};
    const root = all('dialog[open]').at(-1) ?? document;
    return new Map(all('a[href], button, input, select, textarea, summary, [data-day]', root)
      .filter((one) => !one.disabled && isShown(one) && !one.matches(harmful) && !one.closest(':disabled'))
      .filter((one) => !one.href || (one.origin === location.origin && one.pathname === location.pathname))
      .map((one) => {
        const name = `${one.localName} ${(labelOf(one) || one.name).slice(0, 60)}`;
        counts[name] = (counts[name] ?? -1) + 1;
        return [counts[name] ? `${name} #${counts[name]}` : name, one];
      }));
  }

  function texts() {
    const found = [document.title];
    const { SHOW_ELEMENT, SHOW_TEXT, FILTER_ACCEPT, FILTER_REJECT } = NodeFilter;
    const data = new Set(all(DATA));
    const telling = new Set(all(TOLD.map((name) => `[${name}]`).join()));
    const walker = document.createTreeWalker(document.body, SHOW_ELEMENT | SHOW_TEXT, (node) =>
      (data.has(node) ? FILTER_REJECT : FILTER_ACCEPT));
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
      if (node.data?.trim()) found.push(node.data);
      if (telling.has(node)) found.push(...TOLD.map((name) => node.getAttribute(name)).filter(Boolean));
    }
    return found;
  }

  const NONSENSE = /(?<![\p{L}\p{Nd}_])(undefined|NaN|null|Infinity|\[object \w+\])(?![\p{L}\p{Nd}_])/u;
  const KEY = new RegExp(`(?<![\\w.$/@-])(${sections.join('|')})\\.[a-z]\\w*|\\{\\w+\\}`);
  const numbersIn = (text) => text.match(/\p{Nd}[\p{Nd}.,]*/u)?.[0];
  const isCut = (element) => {
    for (let one = element.parentElement; one; one = one.parentElement) {
      if (getComputedStyle(one).overflowX !== 'visible') return true;
    }
    return false;
  };

  /** The descriptions of what does not hold. */
  function check() {
    const found = errors.splice(0);
    const width = document.documentElement.clientWidth;
    const { scrollWidth } = document.documentElement;
    if (scrollWidth > width) found.push(`wider than the viewport: ${scrollWidth} > ${width}`);
    for (const one of all('body *:not(svg *)')) {
      const { left, right, width: own } = one.getBoundingClientRect();
      if (own > 1 && (right > width + 1 || left < -1) && isShown(one) && !one.closest('.skip') && !isCut(one)) {
        found.push(`wider than the viewport: ${one.outerHTML.slice(0, 120)}`);
        break;
      }
    }
    for (const text of texts()) {
      if (NONSENSE.test(text)) found.push(`nonsense on screen: ${text}`);
      if (KEY.test(text)) found.push(`raw key on screen: ${text}`);
    }
    const named = [['title', document.title], ...all('h1, h2, h3, a, button, option, .id, .word, #status')
      .filter((one) => !one.matches('.of, .of *')).map((one) => [one.localName, textOf(one)])];
    const ids = navigator.onLine ? names : read;
    for (const [where, text] of named) {
      const id = text.split(/[\s·:,“”"]+/).find((word) => ids.has(word));
      if (id && !isBusy()) found.push(`id where a name was published: ${where} ${text}`);
    }
    for (const [name, places] of Map.groupBy(all('[data-same]'), (one) => one.dataset.same)) {
      const shown = places.filter((one) => !one.closest('.ghost')).map((one) => numbersIn(one.textContent));
      if (new Set(shown).size > 1) found.push(`numbers that disagree: ${name} is ${shown.join(' and ')}`);
    }
    for (const one of all('a[href], button, input, select, textarea, summary, [tabindex="0"], [role=button]')) {
      if (isShown(one) && !labelOf(one)) found.push(`control without a name: ${one.outerHTML.slice(0, 120)}`);
    }
    return found;
  }

  // What the views show of each day once nothing is loading, by the day of their heading; and the files of each.
  const settled = new Map();
  const files = new Map();
  const heading = () => document.querySelector('main input[name=on]')?.value
    ?? document.querySelector('main .then p')?.textContent ?? '';
  const isNumber = (one) => /\p{Nd}/u.test(textOf(one)) && !one.closest('.ghost, .next, .year');
  const facts = () => new Map(all('main :is(td, dd, .figure)').filter(isNumber).map((one) => [
    [one.closest('[data-key]')?.dataset.key, textOf(one.closest('tr, div, .card').firstElementChild), one.cellIndex]
      .join(), textOf(one)]));
  const compare = () => {
    const own = settled.get(heading());
    for (const [place, text] of own ? facts() : []) {
      const other = [...settled.values()].find((shown) => shown.get(place) === text);
      if (other && own.get(place) !== text) errors.push(`of another day than ${heading()}: ${text} at ${place}`);
    }
  };
  const parse = (text) => (text.match(/(?:"(?:""|[^"])*"|[^"\r])*\r\n/g) ?? []).map((line) =>
    [...line.matchAll(/("(?:""|[^"])*"|[^",\r]*)(?:,|\r\n)/g)].map(([, cell]) => cell));
  /** In each column that a file and its table share, each row has the same number; the table may leave out zeros. */
  const compareFile = (text, headers, shown) => {
    const [names, ...rows] = parse(text);
    if (rows.length !== shown.length) errors.push(`a file contradicts its table: ${rows.length} rows, ${shown.length}`);
    shown.forEach((cells, at) => cells.forEach((cell, column) => {
      const [told, said] = [rows[at]?.[names.indexOf(headers[column])], (numbersIn(cell) ?? '0').replaceAll(',', '')];
      if (/^\d+$/.test(told) && told !== said) errors.push(`a file contradicts its table: ${told}, not ${cell}`);
    }));
  };
  const make = URL.createObjectURL;
  URL.createObjectURL = (blob) => {
    const [day, table] = [heading(), document.querySelector('section:has([data-csv]) table')];
    const [headers, ...shown] = table ? [...table.rows].map(({ cells }) => [...cells].map(textOf)) : [];
    running += 1;
    blob.text().then((text) => {
      running -= 1;
      if (table) compareFile(text, headers, shown);
      if (settled.size && (files.get(day) ?? text) !== text) errors.push(`of another day than ${day}: a file`);
      files.set(day, text);
    });
    return make(blob);
  };
  const observe = () => {
    new MutationObserver(compare).observe(document.getElementById('main'),
      { childList: true, subtree: true, characterData: true, attributes: true });
  };

  function enter(control, value) {
    if (!control) return;
    control.focus();
    control.value = value;
    for (const type of ['input', 'change']) control.dispatchEvent(new Event(type, { bubbles: true }));
    if (control.localName === 'input') control.form?.requestSubmit();
  }

  window.walk = {
    /** Wait until nothing is loading; then return what the next step and the checks need. */
    async look() {
      const end = performance.now() + 60_000;
      for (let quiet = 0; quiet < 2; quiet = isBusy() ? 0 : quiet + 1) {
        if (performance.now() > end) return { found: ['never ends loading', ...check()], controls: [], names: [] };
        await frame();
      }
      const groups = {};
      for (const [key, one] of controls()) {
        const place = one.closest('dialog, [data-key], .top, footer, nav');
        (groups[`${place?.localName} ${place?.dataset.key ?? ''} ${one.localName}`] ??= [])
          .push({
            key, type: one.type ?? one.localName,
            values: one.localName === 'select' ? [...one.options].map(({ value }) => value) : [],
          });
      }
      return { found: check(), controls: Object.values(groups), names: [...names] };
    },
    find: (key) => controls().get(key) ?? null,
    /** Bring a control into sight; return where to click it, or null if something lies above it. */
    point(key) {
      const control = this.find(key);
      if (!control) return null;
      control.scrollIntoView({ block: 'center', inline: 'center', behavior: 'instant' });
      const drawn = control.getClientRects().length ? control : control.parentElement;
      const { left, top, width, height } = drawn.getClientRects()[0];
      const [x, y] = [left + width / 2, top + height / 2];
      const hit = document.elementFromPoint(x, y);
      return hit && (control.contains(hit) || hit.contains(control)) ? [x, y] : null;
    },
    /** Enter a value as a user does; later, because a language reloads the page. */
    type(key, value) {
      running += 1;
      setTimeout(() => {
        running -= 1;
        enter(this.find(key), value);
      });
    },
    go(at) {
      location.hash = at;
    },
    date(day) {
      enter(document.querySelector('main input[name=on], #day:not([hidden]) input'), day);
    },
    /** Learn what the view shows of a day, which must be what it has shown before, so that it can be compared. */
    learn() {
      const [day, shown] = [heading(), facts()];
      const [now, before] = [shown, settled.get(day) ?? shown].map((one) => JSON.stringify([...one]));
      if (now !== before) errors.push(`not as before: ${now} instead of ${before}`);
      if (!shown.size) errors.push('no number to compare');
      if (!settled.size) observe();
      settled.set(day, shown);
      this.save();
    },
    save() {
      document.querySelector('main [data-csv]')?.click();
    },
    /** Choose days, each some milliseconds after the one before, while requests are late or fail. */
    async hurry(seed, choices) {
      disturbed = seed;
      for (const [day, milliseconds] of choices) {
        this.date(day);
        await new Promise((resolve) => { setTimeout(resolve, milliseconds); });
        this.save();
      }
      disturbed = 0;
    },
    back() {
      if (!navigation.canGoBack) return;
      running += 1;
      setTimeout(() => navigation.back().finished.catch(() => {}).finally(() => { running -= 1; }));
    },
    /** Follow the link back to now; return whether there is one. */
    leavePast() {
      const link = document.querySelector('.then a');
      link?.click();
      return Boolean(link);
    },
    hide(hidden) {
      Object.defineProperty(document, 'hidden', { value: hidden, configurable: true });
      document.dispatchEvent(new Event('visibilitychange'));
    },
    /** What axe finds. Some rules take long, and ask for each kind of element once: `drawn` are the kinds of before. */
    async audit(rules, drawn) {
      scrollTo({ top: 0, behavior: 'instant' }); // at the top, no control is behind the navigation
      await frame();
      const kinds = new Map();
      const colours = matchMedia('(prefers-color-scheme: dark)').matches;
      const hasText = (one) => [...one.childNodes].some(({ data }) => data?.trim());
      for (const one of all('body *').filter((each) => each.tabIndex >= 0 || hasText(each))) {
        const path = [];
        for (let each = one; each && path.length < 4; each = each.parentElement) {
          path.push(`${each.localName}.${each.getAttribute('class')}`);
        }
        const kind = `${colours} ${innerWidth < 720} ${path.join('<')}`;
        if (!kinds.has(kind)) kinds.set(kind, one);
      }
      for (const kind of drawn) kinds.delete(kind);
      const run = async (context, options) => (
        await axe.run(context, { resultTypes: ['violations'], ...options })).violations
        .flatMap(({ id, nodes }) => nodes.map(({ html, failureSummary }) =>
          `axe: ${id} ${html.slice(0, 200)} ${failureSummary}`));
      const found = await run({ include: ['html'], exclude: ALIKE },
        { runOnly: rules, rules: Object.fromEntries(DEAR.map((rule) => [rule, { enabled: false }])) });
      if (kinds.size) found.push(...await run({ include: [...kinds.values()] }, { runOnly: DEAR }));
      return { found, drawn: [...kinds.keys()] };
    },
    /** What the view shows, with what it loads when it is seen; without the times of its requests. */
    async snapshot() {
      for (let top = 0; top < document.body.scrollHeight; top += innerHeight) {
        scrollTo({ top, behavior: 'instant' });
        await frame();
      }
      const end = performance.now() + 60_000;
      for (let quiet = 0; quiet < 3; quiet = isBusy() ? 0 : quiet + 1) {
        if (performance.now() > end) return ['never ends loading', running, document.body.outerHTML.length];
        await frame();
      }
      const shown = document.getElementById('main').cloneNode(true);
      for (const one of all('[data-key=fresh], [data-key=stamp], .pills', shown)) one.remove();
      const states = ['aria-label', 'aria-pressed', 'aria-current', 'aria-selected', 'href', 'class', 'open'];
      for (const one of all('.jumps [aria-current]', shown)) one.removeAttribute('aria-current');
      const lines = [document.title];
      const walker = document.createTreeWalker(shown, NodeFilter.SHOW_ELEMENT | NodeFilter.SHOW_TEXT);
      for (let node = walker.nextNode(); node; node = walker.nextNode()) {
        lines.push(node.data ?? [node.localName, ...states.map((name) => node.getAttribute(name))
          .filter((value) => value !== null)].join(' '));
      }
      return lines;
    },
  };
})();
