// Run the vectors of clients/vectors.json (its key "about" explains them) in Node or in a browser.

const TOKENS = ["first", "second", "third"];
const real = { fetch, setTimeout, clearTimeout, date: Date.now, tick: performance.now, uuid: crypto.randomUUID };

/** Run one vector over the storage that `open` opens; return what happened in the form of the vector. */
export async function run(vector, { Progress }, open) {
  const world = { wall: 0, tick: 0, ids: [], answers: [], requests: [], timers: new Map(), told: 0, learner: vector.learner };
  const undo = fake(world);
  try {
    let program = start(vector, Progress, open, world);
    const steps = [];
    for (const step of vector.steps) {
      const [[name, value]] = Object.entries(step);
      if (name === "kill") {
        Object.assign(world, value);
        program = start(vector, Progress, open, world);
      }
      const another = () => start(vector, Progress, open, world);
      const result = await STEPS[name](value, world, program, another, open());
      if (result === KILLED) program = start(vector, Progress, open, world);
      steps.push(result === undefined ? step : { [name]: result === KILLED ? "killed" : result });
    }
    const outbox = (await open().load()).filter((text) => text !== world.damaged).map((text) => JSON.parse(text));
    outbox.sort((one, other) => one.wall - other.wall || one.tick - other.tick);
    const kept = outbox.map(({ event, sub, moved, reason }) => ({ event, sub, moved, reason }));
    return JSON.parse(JSON.stringify({ steps, requests: world.requests, outbox: brief(kept, "event") }));
  } finally {
    undo();
  }
}

const KILLED = Symbol("killed");

const STEPS = {
  clocks: ({ wall, tick }, world) => void Object.assign(world, { wall: Date.parse(wall), tick }),
  pass: (ms, world) => void ((world.wall += ms), (world.tick += ms)),
  answers: (answers, world) => void world.answers.push(...answers),
  kill: () => undefined,
  killBefore: (call, world) => void (world.killAt = call),
  signIn: (sub, world) => void (world.sub = sub),
  fails: (call, world) => void (world.failing = call),
  damage: (text, world, progress, another, storage) =>
    storage.save({ "00000000-0000-4000-8000-0000000000ff": (world.damaged = text) }),
  async record({ ids, type, data, pad = 0, options }, world, progress) {
    for (const id of expand(ids)) {
      world.ids = [id];
      await progress.record(type, pad ? { ...data, pad: "é".repeat(pad) } : data, options);
      world.tick += 1;
    }
  },
  async reviewed({ ids, review, log, options }, world, progress) {
    world.ids = [...ids];
    await progress.reviewed(review, log, options);
    world.tick += 1;
  },
  async never(call, world, progress) {
    const { review, log, options } = call;
    const error = await progress.reviewed(review, log, options).then(() => undefined, ({ message }) => message);
    return { ...call, field: error?.split(":")[0] };
  },
  waiting: (_, world, progress) => progress.waiting(),
  told: (_, world) => world.told,
  async flush(_, world, progress) {
    const killed = new Promise((resolve) => (world.kill = () => resolve(KILLED)));
    return await Promise.race([progress.flush().catch((error) => `${error}`), killed]);
  },
  async flushTwice(_, world, progress, another) {
    const other = another();
    world.meet = meeting(); // each request waits for the other's, so neither finds the outbox emptied
    return await Promise.all([progress.flush(), other.flush()]).finally(() => (world.meet = undefined));
  },
  async closeInToken(_, world, progress) {
    world.meetToken = () => {
      progress.close();
      world.sub = "ben"; // who signs in next
    };
    return await progress.flush();
  },
  refused: async (_, world, progress) =>
    (await progress.refused()).map(({ event, reason }) => [event.event_id, reason]),
  retry: ({ id, data }, world, progress) => progress.retry(id, data),
  discard: (id, world, progress) => progress.discard(id),
  planned([least, most], world) {
    const [ms] = world.timers.values();
    return world.timers.size === 1 && least <= ms && ms <= most ? undefined : [...world.timers.values()];
  },
};

function start(vector, Progress, open, world) {
  world.timers.clear();
  let tokens = 0;
  const sign = (sub) => `e30.${btoa(unescape(encodeURIComponent(JSON.stringify({ sub }))))}.`;
  const token = async (fresh) => {
    world.meetToken?.();
    return world.sub ? sign((fresh && vector.fresh) || world.sub) : TOKENS[(tokens += fresh)];
  };
  const storage = mortal(open(), world, vector.lock);
  const { delayMs = Infinity } = vector;
  const onError = () => void world.told++;
  const options = { url: "https://api.example/", learner: world.learner, token, storage, delayMs, onError };
  const progress = new Progress(options);
  world.close = () => progress.close();
  world.record = (given) => STEPS.record(given, world, progress);
  return progress;
}

// A storage that fails, or that a kill cuts off: the call never happens, and the lock is free again.
function mortal(storage, world, locks = true) {
  const cut = (call) => async (value) => {
    if (world.failing === call) throw new Error("the disk is full");
    if (world.killAt !== call) return storage[call](value);
    world.killAt = undefined;
    world.kill();
    world.release?.();
    return new Promise(() => {});
  };
  const released = (flush) => Promise.race([flush(), new Promise((resolve) => (world.release = resolve))]);
  const lock = locks && storage.lock ? (flush) => storage.lock(() => released(flush)) : undefined;
  return { load: cut("load"), save: cut("save"), remove: cut("remove"), lock };
}

// A token of a learner is shown by its `sub`.
function show(token) {
  const [, claims] = token.split(".");
  return claims ? JSON.parse(decodeURIComponent(escape(atob(claims)))).sub : token;
}

function fake(world) {
  Date.now = () => world.wall;
  performance.now = () => world.tick;
  crypto.randomUUID = () => world.ids.shift() ?? real.uuid.call(crypto);
  let timer = 0;
  globalThis.setTimeout = (_, ms) => (world.timers.set(++timer, ms), timer);
  globalThis.clearTimeout = (id) => world.timers.delete(id);
  globalThis.fetch = async (url, { method = "GET", headers = {}, body }) => {
    const path = url.replace("https://api.example", "");
    const request = body ? { method, path, token: show(headers.authorization.slice(7)) } : { method, path };
    world.requests.push(body ? { ...request, ...brief(JSON.parse(body)) } : request);
    await world.meet?.();
    const answer = world.answers.shift() ?? { lost: true };
    STEPS.pass(answer.tookMs ?? 0, world);
    if (answer.close) world.close();
    if (answer.record) await world.record(answer.record);
    if (answer.kill) {
      world.kill();
      world.release?.();
      return new Promise(() => {});
    }
    if (answer.lost) throw new TypeError("network");
    const text = answer.text ?? JSON.stringify(answer.now ? { status: "ok", now: answer.now } : answer.body ?? {});
    return new Response(text, { status: answer.status ?? 200, headers: answer.headers });
  };
  return () => {
    const { fetch, setTimeout, clearTimeout } = real;
    Object.assign(globalThis, { fetch, setTimeout, clearTimeout });
    [Date.now, performance.now, crypto.randomUUID] = [real.date, real.tick, real.uuid];
  };
}

// The first caller waits for the second, and the third for the fourth.
function meeting() {
  let waiting;
  return async () => {
    const other = waiting;
    waiting = undefined;
    if (other) other();
    else await new Promise((resolve) => (waiting = resolve));
  };
}

// More than ten events are told by their number, the first id and the last; a pad by its length.
export function brief(events, key) {
  for (const each of events) {
    const { data } = key ? each[key] : each;
    if (typeof data.pad === "string") data.pad = data.pad.length;
  }
  if (events.length <= 10) return key ? events : { events };
  const id = (at) => (key ? events.at(at)[key] : events.at(at)).event_id;
  return { count: events.length, first: id(0), last: id(-1) };
}

// Either ids, or [first, how many]: the last twelve digits count up.
function expand(ids) {
  if (typeof ids[1] !== "number") return ids;
  const [first, many] = ids;
  return Array.from({ length: many }, (_, n) => first.slice(0, 24) + `${n + +first.slice(24)}`.padStart(12, "0"));
}
