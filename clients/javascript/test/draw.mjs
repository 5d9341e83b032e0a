// Run what each seed from FIRST to LAST draws: node MODULE FIRST LAST

export const BEGIN = Date.parse("2026-11-27T09:00:00Z");

/** Return a generator of numbers from 0 to 1 (mulberry32), so that all follows from the seed, and a choice by it. */
export function generator(seed) {
  const random = () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let mixed = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  return { random, pick: (...values) => values[Math.floor(random() * values.length)] };
}

/** Print the faults that were found, and how much happened. */
export async function draw(run, seen) {
  const [first, last] = process.argv.slice(2).map(Number);
  const found = {};
  for (let seed = first; seed <= last; seed++) {
    const faults = await run(seed);
    if (faults.length) found[seed] = faults;
  }
  console.log(JSON.stringify({ found, seen }));
  process.exit();
}
