export { Progress, PostsAreOff } from "./progress.js";
export type { Flushed, Options, Refused, Review, ReviewLog, ScheduledCard } from "./progress.js";
export type { ProgressEvent } from "./entry.js";
export { asyncStorage, fileStorage, indexedDBStorage } from "./storages.js";
export type { AsyncStore, Lock, Storage } from "./storages.js";
