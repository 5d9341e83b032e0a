export { Progress, PostsAreOff } from "./progress.js";
export type { Flushed, Options, RecordOptions, Refused } from "./progress.js";
export type { Review, ReviewLog, ScheduledCard, Time } from "./review.js";
export type { ProgressEvent } from "./entry.js";
export { asyncStorage, fileStorage, indexedDBStorage } from "./storages.js";
export type { AsyncStore, Lock, Storage } from "./storages.js";
