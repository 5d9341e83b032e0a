import { batches, gap, kindOf, read, settle, type Clock, type Entry, type ProgressEvent, type Run, type Since } from "./entry.js";
import { randomId, readSub, toId } from "./ids.js";
import { describe, iso, text, type Review, type ReviewLog, type ScheduledCard, type Time } from "./review.js";
import type { Storage } from "./storages.js";

export interface Options {
  url: string; // the origin of the GraphQL API
  learner: string; // whose events these are: the `sub` of the learner's tokens
  token: (fresh: boolean) => string | Promise<string>; // fresh: the server did not accept the last one
  storage: Storage;
  delayMs?: number; // from an event to the send; Infinity: only flush() sends
  onError?: (error: Error) => void; // told why events wait
}

/** When an event happened, and an id of the app's own: what is sent again with the same id counts once. */
export interface RecordOptions {
  at?: Time | undefined; // now, if omitted
  id?: string | undefined; // a UUID, or any other text, which becomes one
}

/** How many events a flush delivered, how many the server refused, and how many still wait. */
export interface Flushed {
  accepted: number;
  refused: number;
  waiting: number;
}

export interface Refused {
  event: ProgressEvent;
  reason: string;
}

/** The server takes no learners' posts. The events stay. */
export class PostsAreOff extends Error {
  override name = "PostsAreOff";
}

/** Everything stays; try again after so many ms, or soon. */
class Waits extends Error {
  declare afterMs?: number;
  declare isSoon?: boolean;
  declare kinds?: number[] | undefined; // all of which waits; everything, if none
}

interface Answer {
  status: number; // 0: a redirect
  text: string;
  json?: any; // what the text says, if it is JSON
  retryMs: number;
  isOfKind?: boolean; // the other kind of events has an allowance of its own
  isOurs: boolean; // it has our header, or a sentence of a server up to 0.3, which has no header
}

const OFF = "learners may not post events here"; // the server's sentence
const SENTENCES = /^expected (JSON|UTF-8|at most|a body of)/;
const BATCH = { events: 500, bytes: 800_000 };
const KEEPALIVE = { events: 500, bytes: 60_000 }; // browsers allow 64 KiB
const SLOW_MS = 5_000;
const SOON_MS = 1_000;
const TIMEOUT_MS = 60_000;
const LONGEST_BACKOFF_MS = 300_000;
const LONGEST_TIMER_MS = 2 ** 31 - 1;
const DAY_MS = 86_400_000;

/** Records a learner's events on this device, and sends them. An event leaves it only once the server has it. */
export class Progress {
  readonly #options: Options;
  readonly #url: string;
  readonly #learner: string;
  readonly #run: Run = { run: randomId(), number: 1, seen: 0 };
  #earlier: Record<string, number> | undefined; // the latest `wall` of each run, when the storage was first read
  #began: Since | undefined; // when this run recorded its first event
  readonly #times = new Map<unknown, number>(); // of the newest event about each subject, in ms
  #newest = 0; // of these
  readonly #stop = new AbortController();
  readonly #final = new Map<string, Entry>(); // events of this run with final times, not yet delivered
  readonly #held = new Map<string, Entry>(); // what the storage did not take
  #gone = new Set<string>(); // events that are done, and that the storage may still list
  readonly #done = new Set<string>(); // in this pass: events that were sent, and errors that were told
  #last: Promise<unknown> = Promise.resolve();
  #clock: Clock | undefined; // as last measured
  #fault: Error | undefined; // because of which something waits after the pass
  #bearer: string | undefined;
  #sub: string | undefined; // of the last token, if it can be read
  #most = BATCH; // of the next batch
  #timer: ReturnType<typeof setTimeout> | undefined;
  #due = 0; // the tick at which the timer ends
  #sendsLast = false;
  #failures = 0;
  readonly #notBefore = [0, 0]; // the server asked to wait until these ticks with answers and with lists
  #isOurs = true; // the storage has no event of another learner
  #isTold = false; // that events of nobody wait
  readonly #unknown = new Set<string>(); // the types that the server did not know in this run
  #delay: number;

  constructor(options: Options) {
    this.#options = options;
    this.#url = options.url.replace(/\/+$/, "");
    this.#learner = text("learner", options.learner);
    this.#delay = options.delayMs ?? 2_000;
    const { signal } = this.#stop;
    const listen: typeof addEventListener | undefined = globalThis.addEventListener; // React Native has none
    listen?.("pagehide", () => this.#sendLast(), { signal });
    listen?.("visibilitychange", () => document.visibilityState === "hidden" && this.#sendLast(), { signal });
    listen?.("online", () => this.#plan(Math.random() * this.#delay, true), { signal });
    this.#plan(this.#delay); // what former runs left
  }

  /** Record a review: ts-fsrs's card after it, with `itemId`, and its log; or one object. Return the event's id. */
  reviewed(card: ScheduledCard, log: ReviewLog, options?: RecordOptions): Promise<string>;
  reviewed(review: Review, log?: undefined, options?: RecordOptions): Promise<string>;
  async reviewed(card: Review | ScheduledCard, log?: ReviewLog, { at, id }: RecordOptions = {}): Promise<string> {
    const [field, given] = log && at == null ? ["review", log.review] : ["at", at ?? (card as Review).at];
    return this.#add("CardReviewed", describe(card, log), given, id, field);
  }

  /** Record another event that learners may post. Return its id. */
  async record(type: string, data?: Record<string, unknown>, { at, id }: RecordOptions = {}): Promise<string> {
    return this.#add(text("type", type), data ?? {}, at, id);
  }

  /** Send what waits. Rejects only if the server takes no posts, or the storage cannot be read. */
  flush(): Promise<Flushed> {
    const pass = () => this.#pass();
    const flushed = this.#last.then(() => (this.#options.storage.lock ?? ((run) => run()))(pass));
    this.#last = flushed.catch(() => {});
    return flushed;
  }

  /** Return how many events wait, without sending any. */
  async waiting(): Promise<number> {
    return (await this.#load()).filter((entry) => entry.reason === undefined && this.#isShown(entry)).length;
  }

  /** Return the events that the server refused, with its reasons. */
  async refused(): Promise<Refused[]> {
    const shown = (await this.#load()).filter(this.#isShown);
    return shown.flatMap(({ event, reason }) => (reason === undefined ? [] : [{ event, reason }]));
  }

  /** Send a refused event again, with other data if given. */
  async retry(eventId: string, data?: Record<string, unknown>): Promise<void> {
    const found = await this.#get(eventId);
    if (found?.reason === undefined) throw new Error(`no refused event has the id ${eventId}`);
    const { reason, moved, ...entry } = found;
    const event = { ...entry.event, data: data ?? entry.event.data };
    // Times that were moved stay; others may still be wrong.
    await this.#save([{ ...entry, event, ...(moved && { moved }) }]);
    this.#plan(this.#delay);
  }

  /** Drop an event. Nothing else drops one. */
  async discard(eventId: string): Promise<void> {
    await this.#last; // a flush that has it in hand would write it again
    await this.#get(eventId);
    await this.#remove([eventId]);
  }

  /** Stop sending, for example when the learner signs out. Events stay in the storage. */
  close(): void {
    this.#stop.abort();
    clearTimeout(this.#timer);
  }

  async #add(type: string, given: Record<string, unknown>, at?: Time, id?: string, field = "at"): Promise<string> {
    const clock = { wall: Date.now(), tick: performance.now() };
    // Events keep their order, and no two about a subject have one time, also not after a move, which is exact to 1 ms:
    // the latest decides. A clock that was set back by more than a minute begins anew.
    const subject = given.item_id ?? given.list_id ?? given.session_id ?? type;
    const later = Math.max(this.#newest, (this.#times.get(subject) ?? 0) + 2) - clock.wall;
    const by = later > 0 && later < 60_000 ? later : 0;
    clock.tick += by;
    this.#times.set(subject, (this.#newest = clock.wall += by));
    const event_id = id === undefined ? randomId() : toId(text("id", id));
    const copy = { event_id, event_type: type, occurred_at: iso(field, at ?? clock.wall), data: given };
    const event: ProgressEvent = JSON.parse(JSON.stringify(copy));
    this.#began ??= clock;
    if (!this.#earlier) await this.#load().catch(() => {});
    const entry: Entry = { event, ...this.#run, ...clock, sub: this.#learner };
    // While the device's clock runs as it did when it was measured, the times are final at once.
    const known = this.#clock;
    if (known && Math.abs(gap(known, clock)) <= 1_000) settle([entry], this.#run.run, { ...known, ...clock });
    await this.#save([entry]);
    this.#plan(this.#delay);
    return event_id;
  }

  async #pass(): Promise<Flushed> {
    const counts = { accepted: 0, refused: 0, waiting: 0 };
    this.#fault = undefined;
    this.#done.clear();
    try {
      const waiting = await this.#find(counts);
      if (this.#held.size) await this.#save([...this.#held.values()]);
      const ready = waiting.filter((entry) => !this.#isEarly(entry));
      if (ready.length) {
        await this.#measure();
        await this.#send(ready, counts); // what is recorded meanwhile waits for the next pass
      }
    } catch (error) {
      this.#fail(error);
    }
    await this.#find(counts);
    const fault = this.#fault as Partial<Waits> | undefined; // set meanwhile
    if (fault) {
      const backoff = Math.min(LONGEST_BACKOFF_MS, 1_000 * 2 ** this.#failures++) * (0.5 + Math.random() / 2);
      const early = Math.max(0, Math.min(...this.#notBefore) - performance.now());
      this.#plan(fault.isSoon ? SOON_MS : early + backoff, true);
      if (!(fault instanceof Waits)) throw fault;
    } else {
      for (const end of this.#notBefore) if (end > performance.now()) this.#plan(end - performance.now());
    }
    return counts;
  }

  /** Tell a fault, which lets something wait, and keep the one that says when the next pass comes. */
  #fail(error: any): void {
    this.#tellOnce(error);
    const end = performance.now() + (error.afterMs ?? 0);
    for (const kind of error.kinds ?? [0, 1]) this.#notBefore[kind] = Math.max(this.#notBefore[kind]!, end);
    if (error.kinds) return; // the other kind has an allowance of its own
    if (!this.#fault || error.isSoon || !(error instanceof Waits)) this.#fault = error;
  }

  /** Return whether the server asked to wait with events such as this. */
  #isEarly(entry: Entry): boolean {
    return this.#notBefore[kindOf(entry)]! > performance.now();
  }

  /** Return what waits and was not sent in this pass. */
  async #find(counts: Flushed): Promise<Entry[]> {
    const entries = await this.#load(this.#tellOnce).catch((error) => (this.#fail(error), [...this.#held.values()]));
    if (this.#gone.size) {
      this.#tellOnce(new Error("the storage has what was removed"));
      await this.#remove([...this.#gone]).catch(this.#tellOnce);
    }
    const waiting = entries.filter(({ reason }) => reason === undefined);
    counts.waiting = waiting.filter(this.#isShown).length;
    return waiting.filter(({ event }) => !this.#done.has(event.event_id) && !this.#unknown.has(event.event_type));
  }

  async #send(waiting: Entry[], counts: Flushed): Promise<void> {
    for (const { event } of waiting) this.#done.add(event.event_id);
    await this.#authorize(false);
    // Clients up to 0.3 wrote no learner if the app named none.
    const isOurs = this.#isOurs && this.#sub === this.#learner;
    const named = waiting.filter(({ sub }) => isOurs || sub);
    if (named.length < waiting.length && !this.#isTold) {
      this.#isTold = true;
      this.#tell(new Error("events wait: they may be another learner's"));
    }
    const own = this.#own(named.map((entry) => ({ sub: this.#learner, ...entry })));
    const changed = settle(own, this.#run.run, this.#clock, this.#earlier, this.#began);
    if (changed.length) await this.#save(changed);
    for (const batch of batches(own, this.#most)) await this.#deliver(batch, counts);
  }

  /** Return the entries that may be sent with this token, and tell that others wait. */
  #own(entries: Entry[]): Entry[] {
    const own = entries.filter(this.#maySend);
    if (own.length < entries.length) this.#fail(new Waits("events wait: the token is another learner's"));
    return own;
  }

  #maySend = ({ sub }: Entry): boolean => sub === this.#learner && sub === (this.#sub ?? sub);

  /** Return whether calls name the entry: it is this learner's, or nobody's yet. */
  #isShown = ({ sub }: Entry): boolean => sub === undefined || sub === this.#learner;

  /** Read the server's clock. Fails, as a send would, if no server of ours answers. */
  async #measure(): Promise<void> {
    const asked = performance.now();
    const answer = await this.#ask("/health", { cache: "no-store" });
    const clock = { wall: Date.now(), tick: performance.now() };
    const server = Date.parse(answer.json?.now);
    if (answer.status !== 200 || !server) throw waits("/health", answer);
    const took = clock.tick - asked;
    let late = Math.round(server + took / 2 - clock.wall);
    // One move for all events of a run keeps their distances: the ways there and back take unlike times.
    if (Math.abs(late - this.#clock?.late!) <= SLOW_MS) late = this.#clock!.late;
    this.#clock = took > SLOW_MS ? undefined : { ...clock, late };
  }

  /** Post a batch, each event at most twice in a pass; `again`: the second time. */
  async #deliver(entries: Entry[], counts: Flushed, again?: boolean): Promise<void> {
    const batch = this.#own(entries); // the token may have changed in this pass
    if (!batch[0] || this.#isEarly(batch[0])) return;
    const answer = await this.#post(batch, this.#bearer!);
    const { status } = answer;
    const refused = refusals(answer, batch);
    const isVerdict = answer.isOurs && (status === 400 || status === 413);
    if (refused) {
      counts.refused += await this.#take(batch, refused);
      counts.accepted += batch.length - refused.size;
      this.#failures = 0;
      this.#most = BATCH;
    } else if (status === 401 && !again) {
      await this.#authorize(true);
      await this.#deliver(batch, counts, true);
    } else if (status === 403 && answer.json?.error === OFF) {
      this.#delay = Infinity;
      throw new PostsAreOff(OFF);
    } else if (isVerdict && batch.length === 1) {
      counts.refused += await this.#take(batch, new Map([[0, answer.json.error]]));
    } else if (isVerdict && status === 400 && !again) {
      const half = batch.length >> 1;
      await this.#deliver(batch.slice(0, half), counts, true);
      await this.#deliver(batch.slice(half), counts, true);
    } else {
      // It is too large, or too slow. The next pass sends less at once.
      const isLess = isVerdict || status === 413 || status === 408;
      if (isLess) this.#most = { events: Math.max(1, batch.length >> 1), bytes: this.#most.bytes >> 1 };
      const kinds = answer.isOfKind ? [kindOf(batch[0])] : undefined;
      const error = waits("/events", answer, isLess && batch.length > 1, kinds);
      if (!kinds && !(isLess && (status === 400 || batch.length === 1))) throw error;
      this.#fail(error);
    }
  }

  /**
   * Take a batch out of the outbox: refused events go to their list first, so that a kill loses none. If the server
   * does not know an event's type, which a release may bring, the event waits for the next run, until it is a day old. Return how
   * many went to the list.
   */
  async #take(batch: Entry[], refused: Map<number, string>): Promise<number> {
    const named = [...refused].map(([index, reason]) => ({ ...batch[index]!, reason })).filter(
      ({ event, reason, wall }) =>
        !(reason.startsWith("expected a type ") && Date.now() - wall < DAY_MS && this.#unknown.add(event.event_type)),
    );
    if (named.length) await this.#save(named);
    const gone = batch.filter((_, index) => !refused.has(index)).map(({ event }) => event.event_id);
    if (gone.length) await this.#remove(gone).catch(this.#tell);
    return named.length;
  }

  /** Send what can be sent at once while the page closes. Nothing depends on it: the next flush sends what is left. */
  async #sendLast(): Promise<void> {
    const [batch] = batches([...this.#final.values()].filter(this.#maySend), KEEPALIVE);
    if (!batch || !this.#bearer || this.#sendsLast || this.#isEarly(batch[0]!)) return;
    this.#sendsLast = true;
    try {
      const refused = refusals(await this.#post(batch, this.#bearer, true), batch);
      if (refused) await this.#take(batch, refused);
    } catch {}
    this.#sendsLast = false;
  }

  async #authorize(fresh: boolean): Promise<void> {
    let timer: any;
    const end = (resolve: (none: any) => void) => {
      timer = setTimeout(resolve, TIMEOUT_MS);
      this.#stop.signal.onabort = resolve; // a pass that waits holds the lock
    };
    try {
      const bearer = await Promise.race([new Promise<any>(end), this.#options.token(fresh)]);
      // If the client was closed meanwhile, the token may be that of whoever signed in next.
      if (this.#stop.signal.aborted || !bearer) throw "none";
      [this.#bearer, this.#sub] = [bearer, readSub(bearer)];
    } catch (error) {
      throw new Waits(`no token: ${error}`);
    } finally {
      clearTimeout(timer);
    }
  }

  #post(batch: Entry[], bearer: string, keepalive?: boolean): Promise<Answer> {
    const body = JSON.stringify(batch.map(({ event }) => event));
    const headers = { authorization: `Bearer ${bearer}`, "content-type": "application/json" };
    return this.#ask("/events", { method: "POST", headers, body, keepalive });
  }

  async #ask(path: string, init: RequestInit): Promise<Answer> {
    if (this.#stop.signal.aborted) throw new Waits("closed");
    const abort = new AbortController();
    const timer = setTimeout(() => abort.abort(), TIMEOUT_MS);
    try {
      const response = await fetch(this.#url + path, { redirect: "manual", ...init, signal: abort.signal });
      const { status, headers } = response;
      const retryAfter = headers.get("retry-after") ?? "0";
      const retryMs = Math.max(0, +retryAfter * 1_000 || Date.parse(retryAfter) - Date.now() || 0);
      const isOfKind = retryMs > 0 && /entries|lists/.test(headers.get("progress-limit")!);
      const text = await response.text();
      let json: any;
      try {
        json = JSON.parse(text);
      } catch {}
      const error = json?.error;
      const isOurs = typeof error === "string" && (headers.get("progress-error") === "1" || SENTENCES.test(error));
      return { status, text, json, retryMs, isOfKind, isOurs };
    } catch (error) {
      if (abort.signal.aborted) return { status: 408, text: "", retryMs: 0, isOurs: false };
      throw new Waits(`${path}: ${(error as Error).message} (is this page in CORS_ORIGINS?)`);
    } finally {
      clearTimeout(timer);
    }
  }

  /** Flush by itself after so many ms, unless a flush is planned before, or after a failure. */
  #plan(afterMs: number, instead?: boolean): void {
    const due = performance.now() + afterMs;
    const isPlanned = this.#timer && (this.#fault || this.#due <= due);
    if (this.#delay === Infinity || this.#stop.signal.aborted || (isPlanned && !instead)) return;
    clearTimeout(this.#timer);
    this.#due = due;
    const flush = () => {
      this.#timer = undefined;
      this.flush().catch(() => this.#plan(LONGEST_BACKOFF_MS));
    };
    this.#timer = setTimeout(flush, Math.min(afterMs, LONGEST_TIMER_MS));
    (this.#timer as { unref?: () => void }).unref?.(); // Node ends when the program does
  }

  /** Tell an error. What the app makes of it stops no send. */
  readonly #tell = (error: Error): void => {
    try {
      this.#options.onError?.(error);
    } catch {}
  };

  readonly #tellOnce = (error: Error): void => {
    if (!this.#done.has(error.message)) this.#tell(error);
    this.#done.add(error.message);
  };

  async #load(tell?: (error: Error) => void): Promise<Entry[]> {
    const entries = new Map<string, Entry>();
    const gone = new Set<string>();
    for (const text of await this.#options.storage.load()) {
      const entry = read(text);
      if (!entry) {
        tell?.(new Error(`the storage has no event, but ${text}`.slice(0, 120)));
        if (typeof text !== "string") this.#fault ??= new Waits(`${text}`);
      } else if (this.#gone.has(entry.event.event_id)) gone.add(entry.event.event_id);
      else entries.set(entry.event.event_id, entry);
    }
    this.#gone = gone;
    for (const [id, entry] of this.#held) entries.set(id, entry);
    const all = [...entries.values()].sort(
      (one, other) => kindOf(one) - kindOf(other) || one.wall - other.wall || one.tick - other.tick,
    );
    this.#isOurs = all.every(this.#isShown);
    if (this.#earlier) return all;
    this.#earlier = {};
    for (const { run, number, wall } of all) {
      if (run === this.#run.run) continue;
      this.#earlier[run] = Math.max(this.#earlier[run] ?? 0, wall);
      this.#run.number = Math.max(this.#run.number, number + 1);
      this.#run.seen = Math.max(this.#run.seen, wall);
    }
    return all;
  }

  async #get(eventId: string): Promise<Entry | undefined> {
    const found = (await this.#load()).find(({ event }) => event.event_id === eventId);
    if (found && !this.#isShown(found)) throw new Error(`${eventId} is another learner's`);
    return found;
  }

  /** Save the entries or, if the storage fails, hold them in memory. */
  async #save(entries: Entry[]): Promise<void> {
    const texts: Record<string, string> = {};
    for (const entry of entries) {
      const { event, run, moved, reason } = entry;
      texts[event.event_id] = JSON.stringify(entry);
      this.#gone.delete(event.event_id);
      if (run === this.#run.run && moved !== undefined && reason === undefined) this.#final.set(event.event_id, entry);
      else this.#final.delete(event.event_id);
    }
    try {
      await this.#options.storage.save(texts);
      for (const id in texts) this.#held.delete(id);
    } catch (error) {
      this.#tell(error as Error);
      for (const entry of entries) this.#held.set(entry.event.event_id, entry);
    }
  }

  async #remove(ids: string[]): Promise<void> {
    for (const id of ids) {
      this.#final.delete(id);
      this.#held.delete(id);
      this.#gone.add(id);
    }
    await this.#options.storage.remove(ids);
  }
}

/** Return the reasons of the refused events by their place; undefined unless the answer accounts for all events. */
function refusals({ status, json }: Answer, batch: Entry[]): Map<number, string> | undefined {
  if (status !== 202 || !Array.isArray(json?.refused)) return undefined;
  const refused = new Map<number, string>(json.refused.map((one: any) => [one?.index, `${one?.reason}`]));
  const named = [...refused.keys()].every((index) => batch[index]);
  return named && json.accepted + refused.size === batch.length ? refused : undefined;
}

/** Say what stands at the address. */
function waits(path: string, { status, text, retryMs }: Answer, isSoon?: boolean, kinds?: number[]): Waits {
  const error = new Waits(`${path} answered ${status || "a redirect"} ${text.slice(0, 80)}`);
  return Object.assign(error, { afterMs: retryMs, isSoon, kinds });
}
