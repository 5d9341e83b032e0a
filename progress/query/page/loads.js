// Runs the loads of a view when its table says so, and its timers, which all end with it; knows what has not arrived.

const awaited = new Set(); // what the view that is shown still waits for

const mark = () => document.documentElement.toggleAttribute('data-arriving', awaited.size > 0);

/** Mark the document until a part of the view has arrived or failed. Return what the part's promise returns. */
export async function arriving(part) {
  awaited.add(part);
  mark();
  try {
    return await part;
  } finally {
    awaited.delete(part);
    mark();
  }
}

/** Wait no longer for parts that are loaded again, or whose view is left. */
export function leaveArriving() {
  awaited.clear();
  mark();
}

const statesOf = (table) => Object.fromEntries(Object.keys(table).map((name) => [name, { startedAt: -Infinity }]));

/**
 * The `table` has a load for each name: { on, run, least, at, isQuiet }. `run` loads, when one of the events `on`
 * happens; the end of a load is an event of its name. `least` is the least time between two loads in milliseconds: of
 * many events meanwhile, one load follows. A load `at` a place waits until the element with this `data-key` is in
 * sight. A quiet load reports no problem; each that failed runs again after the next load of the page.
 */
export class Loads {
  constructor(table, fail) {
    Object.assign(this, { table, fail, timers: new Map(), states: statesOf(table) });
    this.seeing = new IntersectionObserver((seen) => {
      for (const { isIntersecting, target: { dataset } } of seen) if (isIntersecting) this.see(dataset.key);
    });
  }

  close() {
    this.isClosed = true;
    this.seeing.disconnect();
    for (const name of this.timers.keys()) this.stop(name);
  }

  /** Forget when what was loaded, what is loading, and what was seen: all is loaded again when it happens. */
  forget() {
    leaveArriving();
    this.states = statesOf(this.table);
    this.seeing.disconnect();
  }

  watch(root) {
    for (const { at } of Object.values(this.table)) {
      const place = at && root.querySelector(`[data-key=${at}]`);
      if (place) this.seeing.observe(place);
    }
  }

  see(place) {
    for (const [name, { at }] of Object.entries(this.table)) {
      if (at !== place || this.states[name].isSeen) continue;
      this.states[name].isSeen = true;
      this.load(name);
    }
  }

  happen(event) {
    for (const [name, { on = [], at }] of Object.entries(this.table)) {
      const { isSeen, hasFailed } = this.states[name];
      if ((on.includes(event) && (!at || isSeen)) || (event === 'page' && hasFailed)) this.load(name);
    }
  }

  /** Load at once or at the end of the least time. While the same is loading, it is loaded once more afterwards. */
  load(name) {
    const state = this.states[name];
    const wait = state.startedAt + (this.table[name].least ?? 0) - performance.now();
    if (state.running) state.isOutdated = true;
    else if (wait > 0) this.after(name, wait, () => this.load(name));
    else state.running = arriving(this.run(name, state));
    return state.running;
  }

  async run(name, state) {
    this.stop(name);
    Object.assign(state, { isOutdated: false, hasFailed: false, startedAt: performance.now() });
    try {
      await this.table[name].run();
    } catch (problem) {
      Object.assign(state, { hasFailed: true, startedAt: -Infinity });
      if (!this.isClosed && !this.table[name].isQuiet) this.fail(problem);
    }
    state.running = null;
    if (this.isClosed) return;
    if (!state.hasFailed) this.happen(name);
    if (state.isOutdated) this.load(name);
  }

  repeat(name) {
    this.states[name].isOutdated = true;
  }

  /** Act after some milliseconds; a timer of the same name is replaced. */
  after(name, milliseconds, act) {
    this.stop(name);
    this.timers.set(name, setTimeout(act, milliseconds));
  }

  stop(name) {
    clearTimeout(this.timers.get(name));
    this.timers.delete(name);
  }
}
