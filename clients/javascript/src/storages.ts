import { UUID } from "./ids.js";

/** Lets one flush at a time run, among all that share the storage. */
export type Lock = <T>(flush: () => Promise<T>) => Promise<T>;

/** Keeps texts by id. A promise resolves only once its change is on disk. For a text that cannot be read: why. */
export interface Storage {
  load(): Promise<(string | Error)[]>;
  save(texts: Record<string, string>): Promise<void>;
  remove(ids: string[]): Promise<void>;
  lock?: Lock | undefined;
}

type Texts = [ids: string[], texts: string[]];
type Work = (outbox: IDBObjectStore) => IDBRequest[];
type Run = (work: Work) => Promise<any>; // the results of the requests

const NONE: Texts = [[], []];
const read: Work = (outbox) => [outbox.getAllKeys(), outbox.getAll()];
const put = ([ids, texts]: Texts) => (outbox: IDBObjectStore) => ids.map((id, at) => outbox.put(texts[at], id));

/** Keep the events in a database of the browser and, in Chromium, a copy in a second one. */
export function indexedDBStorage(name: string): Storage {
  // After a kill in the middle of a write, Chromium may take a bucket's databases for damaged, and deletes them all. So
  // another bucket has a copy: if the first database is new, it begins with what the second has; otherwise it decides.
  // Where there are no buckets or no locks, or the copy fails, the first is all there is.
  let bucket: Promise<IDBFactory | undefined> | undefined;
  const openBucket = () => {
    const { locks, storageBuckets: buckets } = navigator as any; // TypeScript does not know them yet
    return locks && buckets?.open("learner-progress").then((it: any) => it.indexedDB).catch(() => undefined);
  };
  // A browser may close an idle connection, so each call opens its own. Without `texts`, it creates no database.
  const open = (factory: IDBFactory, texts?: Texts) =>
    new Promise<IDBDatabase>((resolve, reject) => {
      const request = factory.open(name, 1);
      request.onupgradeneeded = () => {
        const outbox = request.result.createObjectStore("outbox");
        if (texts) put(texts)(outbox);
        else request.transaction!.abort();
      };
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => reject(request.error);
    });
  const run = async (opened: Promise<IDBDatabase>, work: Work) => {
    const database = await opened;
    try {
      return await new Promise<any>((resolve, reject) => {
        const mode = work === read ? "readonly" : "readwrite";
        const transaction = database.transaction("outbox", mode, { durability: "strict" });
        const requests = work(transaction.objectStore("outbox"));
        transaction.oncomplete = () => resolve(requests.map(({ result }) => result));
        transaction.onabort = () => reject(transaction.error);
      });
    } finally {
      database.close();
    }
  };
  // One call at a time, of all tabs and outboxes, uses the two in turn, so a kill meets at most one write.
  const call = async <T>(use: (first: Run, second: Run) => Promise<T>): Promise<T> => {
    const copy = await (bucket ??= openBucket());
    if (!copy) return use((work) => run(open(indexedDB, NONE), work), async () => NONE);
    const second: Run = (work) => run(open(copy, NONE), work).catch(() => NONE);
    const restore = async () => open(indexedDB, await second(read));
    const first: Run = (work) => run(open(indexedDB).catch(restore), work);
    return navigator.locks.request("learner-progress", () => use(first, second));
  };
  return {
    load: () =>
      call(async (first, second) => {
        const kept: Texts = await first(read);
        // They differ after a kill between two writes, after an earlier client's writes, and if the copy was damaged.
        if (JSON.stringify(await second(read)) !== JSON.stringify(kept))
          await second((outbox) => [outbox.clear(), ...put(kept)(outbox)]);
        return kept[1];
      }),
    save: (texts) =>
      call(async (first, second) => {
        const work = put([Object.keys(texts), Object.values(texts)]);
        await first(work);
        await second(work);
      }),
    remove: (ids) =>
      call(async (first, second) => {
        const work: Work = (outbox) => ids.map((id) => outbox.delete(id));
        await second(work); // first, so that nothing that was removed is restored
        await first(work);
      }),
    // A page without HTTPS has no locks.
    lock: async (flush) => navigator.locks?.request(`learner-progress:${name}`, flush) ?? flush(),
  };
}

/** Keep each event as a file of this folder, for Node. Several processes may share the folder. */
export function fileStorage(path: string): Storage {
  const fs = process.getBuiltinModule("node:fs/promises"); // an import would break bundles for browsers
  const ready = () => fs.mkdir(path, { recursive: true });
  return {
    async load() {
      await ready();
      const texts: (string | Error)[] = [];
      for (const name of await fs.readdir(path)) {
        if (!name.endsWith(".json")) continue;
        // Another process may have removed the file.
        const told = (error: NodeJS.ErrnoException) => (error.code === "ENOENT" ? undefined : error);
        const text = await fs.readFile(`${path}/${name}`, "utf8").catch(told);
        if (text !== undefined) texts.push(text);
      }
      return texts;
    },
    async save(texts) {
      await ready();
      for (const [id, text] of Object.entries(texts)) {
        const draft = `${path}/${id}.${Math.random()}`;
        await fs.writeFile(draft, text, { flush: true });
        await fs.rename(draft, `${path}/${id}.json`);
      }
      // Windows opens no folder.
      const folder = await fs.open(path).catch(ignore("EISDIR", "EPERM"));
      await folder?.sync().finally(() => folder.close());
    },
    async remove(ids) {
      for (const id of ids) await fs.unlink(`${path}/${id}.json`).catch(ignore("ENOENT"));
    },
  };
}

function ignore(...codes: string[]): (error: NodeJS.ErrnoException) => undefined {
  return (error) => {
    if (!codes.includes(`${error.code}`)) throw error;
  };
}

/** What React Native's AsyncStorage has. */
export interface AsyncStore {
  getAllKeys(): Promise<readonly string[]>;
  getItem(key: string): Promise<string | null>;
  setItem(key: string, value: string): Promise<void>;
  removeItem(key: string): Promise<void>;
}

/** Keep the events in React Native's AsyncStorage. A key is the name, a colon and an event's id. */
export function asyncStorage(store: AsyncStore, options: { name?: string; lock?: Lock } = {}): Storage {
  const prefix = `${options.name ?? "learner-progress"}:`;
  return {
    async load() {
      const isOurs = (key: string) => key.startsWith(prefix) && UUID.test(key.slice(prefix.length));
      const keys = (await store.getAllKeys()).filter(isOurs);
      const texts = await Promise.all(keys.map((key) => store.getItem(key).catch((error: Error) => error)));
      return texts.filter((text) => text !== null);
    },
    async save(texts) {
      await Promise.all(Object.entries(texts).map(([id, text]) => store.setItem(prefix + id, text)));
    },
    async remove(ids) {
      await Promise.all(ids.map((id) => store.removeItem(prefix + id)));
    },
    lock: options.lock,
  };
}
