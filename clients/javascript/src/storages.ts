/** Lets one flush at a time run, among all that share the storage. */
export type Lock = <T>(flush: () => Promise<T>) => Promise<T>;

/** Keeps texts by id. A promise resolves only once its change is on disk. */
export interface Storage {
  load(): Promise<string[]>;
  save(texts: Record<string, string>): Promise<void>;
  remove(ids: string[]): Promise<void>;
  lock?: Lock | undefined;
}

/** Keep the events in a database of the browser. */
export function indexedDBStorage(name: string): Storage {
  // A browser may close an idle connection, so each call opens its own.
  const open = () =>
    new Promise<IDBDatabase>((resolve, reject) => {
      const request = indexedDB.open(name, 1);
      request.onupgradeneeded = () => request.result.createObjectStore("outbox");
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => reject(request.error);
    });
  const run = async <T>(mode: IDBTransactionMode, work: (outbox: IDBObjectStore) => IDBRequest<T> | void) => {
    const database = await open();
    try {
      return await new Promise<T>((resolve, reject) => {
        const transaction = database.transaction("outbox", mode, { durability: "strict" });
        const request = work(transaction.objectStore("outbox"));
        transaction.oncomplete = () => resolve(request?.result as T);
        transaction.onabort = () => reject(transaction.error);
      });
    } finally {
      database.close();
    }
  };
  return {
    load: () => run<string[]>("readonly", (outbox) => outbox.getAll()),
    save: (texts) =>
      run<void>("readwrite", (outbox) => {
        for (const [id, text] of Object.entries(texts)) outbox.put(text, id);
      }),
    remove: (ids) =>
      run<void>("readwrite", (outbox) => {
        for (const id of ids) outbox.delete(id);
      }),
    lock: navigator.locks && (async (flush) => navigator.locks.request(`learner-progress:${name}`, flush)),
  };
}

/** Keep each event as a file of this folder, for Node. Several processes may share the folder. */
export function fileStorage(path: string): Storage {
  const fs = process.getBuiltinModule("node:fs/promises"); // an import would break bundles for browsers
  const ready = () => fs.mkdir(path, { recursive: true });
  return {
    async load() {
      await ready();
      const texts: string[] = [];
      for (const name of await fs.readdir(path)) {
        if (!name.endsWith(".json")) continue;
        // Another process may have removed the file.
        const text = await fs.readFile(`${path}/${name}`, "utf8").catch(ignore("ENOENT"));
        if (text) texts.push(text);
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

/** Keep the events in React Native's AsyncStorage, under keys that begin with the name. */
export function asyncStorage(store: AsyncStore, options: { name?: string; lock?: Lock } = {}): Storage {
  const prefix = `${options.name ?? "learner-progress"}:`;
  return {
    async load() {
      const keys = (await store.getAllKeys()).filter((key) => key.startsWith(prefix));
      const texts = await Promise.all(keys.map((key) => store.getItem(key)));
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
