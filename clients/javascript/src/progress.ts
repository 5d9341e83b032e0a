import { batches, gap, randomId, settle, type Clock, type Entry, type ProgressEvent } from "./entry.js";
import type { Storage } from "./storages.js";

type Time = Date | string | number;

/** One answer, and when the item is asked again: `due` or `intervalDays`. */
export interface Review {
  itemId: string;
  rating: number; // 1 again, 2 hard, 3 good, 4 easy
  due?: Time;
  intervalDays?: number;
  at?: Time; // now, if omitted
  durationMs?: number | undefined;
  sessionId?: string | undefined;
}

/** A card of ts-fsrs after the review, and the item that it asks. */
export interface ScheduledCard {
  itemId: string;
  due: Time;
  scheduled_days: number;
  durationMs?: number | undefined;
  sessionId?: string | undefined;
}

/** What ts-fsrs says of a review. */
export interface ReviewLog {
  rating: number;
  review: Time;
}

export interface Options {
  url: string; // the origin of the GraphQL API
  token: (fresh: boolean) => string | Promise<string>; // fresh: the server did not accept the last one
  storage: Storage;
  delayMs?: number; // from an event to the send; Infinity: only flush() sends
  onError?: (error: Error) => void; // told why events wait
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

/** Everything stays; try again after so many ms. */
class Waits extends Error {
  constructor(message: string, readonly afterMs = 0) {
    super(message);
  }
}

interface Answer {
  status: number;
  text: string;
  retryMs: number;
}

const OFF = "learners may not post events here"; // the server's sentence
const BATCH = { events: 500, bytes: 800_000 };
const KEEPALIVE = { events: 500, bytes: 60_000 }; // browsers allow 64 KiB
const SLOW_MS = 5_000;
const TIMEOUT_MS = 60_000;
const LONGEST_BACKOFF_MS = 300_000;
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** Records a learner's events on this device, and sends them. An event leaves the device only once the server has it. */
export class Progress {
  readonly #options: Options;
  readonly #url: string;
  readonly #run = randomId();
  readonly #stop = new AbortController();
  readonly #final = new Map<string, Entry>(); // events of this run with final times, not yet delivered
  #last: Promise<unknown> = Promise.resolve();
  #clock: Clock | undefined; // as last measured
  #bearer: string | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #sendsLast = false;
  #failures = 0;
  #notBefore = 0; // the server asked to wait until this tick
  #delay: number;

  constructor(options: Options) {
    this.#options = options;
    this.#url = options.url.replace(/\/+$/, "");
    this.#delay = options.delayMs ?? 2_000;
    const { signal } = this.#stop;
    const listen: typeof addEventListener | undefined = globalThis.addEventListener; // React Native has none
    listen?.("pagehide", () => this.#sendLast(), { signal });
    listen?.("visibilitychange", () => document.visibilityState === "hidden" && this.#sendLast(), { signal });
    listen?.("online", () => this.#plan(Math.random() * this.#delay, true), { signal });
    this.#plan(this.#delay); // what former runs left
  }

  /** Record a review: ts-fsrs's card after it, with `itemId`, and its log; or one object. Return the event's id. */
  reviewed(card: ScheduledCard, log: ReviewLog): Promise<string>;
  reviewed(review: Review): Promise<string>;
  async reviewed(card: Review | ScheduledCard, log?: ReviewLog): Promise<string> {
    const review = log ? { ...(card as ScheduledCard), rating: log.rating, at: log.review } : (card as Review);
    const data = {
      item_id: review.itemId,
      rating: review.rating,
      due: review.due === undefined ? undefined : iso(review.due),
      interval_days: "scheduled_days" in review ? review.scheduled_days : (review as Review).intervalDays,
      duration_ms: review.durationMs,
      session_id: review.sessionId,
    };
    return this.#add("CardReviewed", data, review.at);
  }

  /** Record another event that learners may post. Return its id. */
  async record(type: string, data: Record<string, unknown> = {}): Promise<string> {
    return this.#add(type, data);
  }

  /** Send what waits. Rejects only if the server takes no posts, or the storage fails. */
  flush(): Promise<Flushed> {
    const pass = () => this.#pass();
    const flushed = this.#last.then(() => (this.#options.storage.lock ?? ((run) => run()))(pass));
    this.#last = flushed.catch(() => {});
    return flushed;
  }

  /** Return the events that the server refused, with its reasons. */
  async refused(): Promise<Refused[]> {
    const entries = await this.#load();
    return entries.flatMap(({ event, reason }) => (reason === undefined ? [] : [{ event, reason }]));
  }

  /** Send a refused event again, with other data if given. */
  async retry(eventId: string, data?: Record<string, unknown>): Promise<void> {
    const found = (await this.#load()).find(({ event, reason }) => event.event_id === eventId && reason !== undefined);
    if (!found) throw new Error(`no refused event has the id ${eventId}`);
    const { reason, moved, ...entry } = found;
    const event = { ...entry.event, data: data ?? entry.event.data };
    // Times that were moved stay; others may still be wrong.
    await this.#save([{ ...entry, event, ...(moved && { moved }) }]);
    this.#plan(this.#delay);
  }

  /** Drop an event. Nothing else drops one. */
  async discard(eventId: string): Promise<void> {
    await this.#last; // a flush that has it in hand would write it again
    await this.#remove([eventId]);
  }

  /** Stop sending, for example when the learner signs out. Events stay in the storage. */
  close(): void {
    this.#stop.abort();
    clearTimeout(this.#timer);
  }

  async #add(type: string, data: Record<string, unknown>, at?: Time): Promise<string> {
    const clock = { wall: Date.now(), tick: performance.now() };
    const event = { event_id: randomId(), event_type: type, occurred_at: iso(at ?? clock.wall), data };
    let entry: Entry = JSON.parse(JSON.stringify({ event, run: this.#run, ...clock }));
    // While the device's clock runs as it did when it was measured, the times are final at once.
    const known = this.#clock;
    if (known && Math.abs(gap(known, { ...clock, server: 0 })) <= 1_000) {
      entry = settle(entry, this.#run, { ...clock, server: known.server + clock.tick - known.tick });
    }
    await this.#save([entry]);
    this.#plan(this.#delay);
    return event.event_id;
  }

  async #pass(): Promise<Flushed> {
    const counts = { accepted: 0, refused: 0, waiting: 0 };
    let waiting = await this.#waiting();
    if (!waiting.length || performance.now() < this.#notBefore) return { ...counts, waiting: waiting.length };
    try {
      await this.#measure();
      for (; waiting.length; waiting = await this.#waiting()) {
        for (const batch of batches(waiting, BATCH)) await this.#deliver(await this.#settle(batch), counts);
      }
    } catch (error) {
      this.#options.onError?.(error as Error);
      if (error instanceof PostsAreOff) this.#delay = Infinity;
      if (!(error instanceof Waits)) throw error;
      if (error.afterMs) this.#notBefore = performance.now() + error.afterMs;
      const backoff = Math.min(LONGEST_BACKOFF_MS, 1_000 * 2 ** this.#failures++);
      this.#plan(error.afterMs + backoff * (0.5 + Math.random() / 2), true);
      waiting = await this.#waiting();
    }
    return { ...counts, waiting: waiting.length };
  }

  /** Read the server's clock. Fails, as a send would, if no server of ours answers. */
  async #measure(): Promise<void> {
    const asked = performance.now();
    const answer = await this.#ask("/health", { cache: "no-store" });
    const clock = { wall: Date.now(), tick: performance.now() };
    const server = Date.parse(parse(answer.text)?.now);
    if (answer.status !== 200 || !server) throw waits("/health", answer);
    const took = clock.tick - asked;
    this.#clock = took > SLOW_MS ? undefined : { ...clock, server: server + took / 2 };
  }

  async #settle(batch: Entry[]): Promise<Entry[]> {
    const settled = batch.map((entry) => settle(entry, this.#run, this.#clock));
    const changed = settled.filter((entry, index) => entry !== batch[index]);
    if (changed.length) await this.#save(changed);
    return settled;
  }

  async #deliver(batch: Entry[], counts: Flushed, fresh = false): Promise<void> {
    if (this.#stop.signal.aborted) throw new Waits("closed");
    this.#bearer = await this.#token(fresh);
    const answer = await this.#post(batch, this.#bearer);
    const { status } = answer;
    const refused = refusals(answer, batch);
    if (refused) {
      await this.#take(batch, refused);
      counts.accepted += batch.length - refused.size;
      counts.refused += refused.size;
      this.#failures = this.#notBefore = 0;
    } else if (status === 401 && !fresh) {
      await this.#deliver(batch, counts, true);
    } else if (status === 403 && parse(answer.text)?.error === OFF) {
      throw new PostsAreOff(OFF);
    } else if (status < 400 || status >= 500 || status === 401 || status === 429) {
      throw waits("/events", answer);
    } else if (batch.length > 1) {
      const half = batch.length >> 1;
      await this.#deliver(batch.slice(0, half), counts);
      await this.#deliver(batch.slice(half), counts);
    } else {
      await this.#take(batch, new Map([[0, `HTTP ${status}`]]));
      counts.refused += 1;
    }
  }

  /** Take a batch out of the outbox: refused events go to their list first, so that a kill loses none. */
  async #take(batch: Entry[], refused: Map<number, string>): Promise<void> {
    const named = batch.flatMap((entry, index) => (refused.has(index) ? [{ ...entry, reason: refused.get(index)! }] : []));
    if (named.length) await this.#save(named);
    const gone = batch.filter((_, index) => !refused.has(index));
    if (gone.length) await this.#remove(gone.map(({ event }) => event.event_id));
  }

  /** Send what can be sent at once while the page closes. Nothing depends on it: the next flush sends what is left. */
  #sendLast(): void {
    const [batch] = batches([...this.#final.values()], KEEPALIVE);
    if (!batch || !this.#bearer || this.#sendsLast || performance.now() < this.#notBefore) return;
    this.#sendsLast = true;
    const finish = async (answer: Answer) => {
      const refused = refusals(answer, batch);
      if (refused) await this.#take(batch, refused);
    };
    const end = () => {
      this.#sendsLast = false;
    };
    this.#post(batch, this.#bearer, true).then(finish).then(end, end);
  }

  async #token(fresh: boolean): Promise<string> {
    try {
      return await this.#options.token(fresh);
    } catch (error) {
      throw new Waits(`no token: ${error}`);
    }
  }

  #post(batch: Entry[], bearer: string, keepalive = false): Promise<Answer> {
    const body = JSON.stringify(batch.map(({ event }) => event));
    const headers = { authorization: `Bearer ${bearer}`, "content-type": "application/json" };
    return this.#ask("/events", { method: "POST", headers, body, keepalive });
  }

  async #ask(path: string, init: RequestInit): Promise<Answer> {
    const abort = new AbortController();
    const timer = setTimeout(() => abort.abort(), TIMEOUT_MS);
    try {
      const response = await fetch(this.#url + path, { ...init, signal: abort.signal });
      const retryAfter = response.headers.get("retry-after") ?? "0";
      const retryMs = +retryAfter * 1_000 || Date.parse(retryAfter) - Date.now() || 0;
      return { status: response.status, text: await response.text(), retryMs: Math.max(0, retryMs) };
    } catch (error) {
      throw new Waits(`${path}: ${error}`);
    } finally {
      clearTimeout(timer);
    }
  }

  /** Flush by itself after so many ms, unless a flush is planned. */
  #plan(afterMs: number, instead = false): void {
    if (this.#delay === Infinity || this.#stop.signal.aborted || (this.#timer && !instead)) return;
    clearTimeout(this.#timer);
    const flush = () => {
      this.#timer = undefined;
      this.flush().catch(() => {});
    };
    this.#timer = setTimeout(flush, Math.min(afterMs, LONGEST_TIMER_MS));
    (this.#timer as { unref?: () => void }).unref?.(); // Node ends when the program does
  }

  async #load(): Promise<Entry[]> {
    const entries: Entry[] = (await this.#options.storage.load()).map((text) => JSON.parse(text));
    return entries.sort((one, other) => one.wall - other.wall || one.tick - other.tick);
  }

  async #waiting(): Promise<Entry[]> {
    return (await this.#load()).filter(({ reason }) => reason === undefined);
  }

  async #save(entries: Entry[]): Promise<void> {
    const texts = entries.map((entry) => [entry.event.event_id, JSON.stringify(entry)]);
    await this.#options.storage.save(Object.fromEntries(texts));
    for (const entry of entries) {
      const { event, run, moved, reason } = entry;
      if (run === this.#run && moved !== undefined && reason === undefined) this.#final.set(event.event_id, entry);
      else this.#final.delete(event.event_id);
    }
  }

  async #remove(ids: string[]): Promise<void> {
    await this.#options.storage.remove(ids);
    for (const id of ids) this.#final.delete(id);
  }
}

/** Return the reasons of the refused events by their place; undefined unless the answer accounts for the whole batch. */
function refusals({ status, text }: Answer, batch: Entry[]): Map<number, string> | undefined {
  const answer = parse(text);
  if (status !== 202 || !Array.isArray(answer?.refused)) return undefined;
  const refused = new Map<number, string>(answer.refused.map((one: any) => [one?.index, `${one?.reason}`]));
  const named = [...refused.keys()].every((index) => batch[index]);
  return named && answer.accepted + refused.size === batch.length ? refused : undefined;
}

function waits(path: string, { status, retryMs }: Answer): Waits {
  return new Waits(`${path} answered ${status}`, retryMs);
}

function parse(text: string): any {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function iso(time: Time): string {
  return new Date(time).toISOString();
}
