// Ids of events, and the learner that a token names.

/** The form of a UUID. */
export const UUID = /^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/i;

const NAMESPACE = "d52ec48421ab51d2ba2c9cd4595f3085"; // the UUIDv5 of "learner" in the namespace OID

/** Return a random UUID. Pages without HTTPS and React Native have no crypto.randomUUID. */
export function randomId(): string {
  return globalThis.crypto?.randomUUID?.() ?? toId(`${Math.random()} ${Math.random()} ${Date.now()}`);
}

/** Return a UUID as it is, and the UUIDv5 of any other text (RFC 9562, section 5.5). */
export function toId(text: string): string {
  if (UUID.test(text)) return text;
  const hash = sha1(unescape(NAMESPACE.replace(/../g, "%$&") + encodeURIComponent(text)));
  const variant = "89ab"[parseInt(hash[16]!, 16) & 3];
  return hash.replace(/(.{8})(.{4}).(...).(...)(.{12}).*/, `$1-$2-5$3-${variant}$4-$5`);
}

/** Return the `sub` of a JSON Web Token, unverified; undefined if the token cannot be read. */
export function readSub(token: string): string | undefined {
  const [, claimed] = token.split(".");
  try {
    const claims = atob(claimed!.replace(/-/g, "+").replace(/_/g, "/"));
    return JSON.parse(decodeURIComponent(escape(claims))).sub;
  } catch {
    return undefined; // also in a React Native before 0.74, which has no atob
  }
}

/** Return the hash of bytes in hexadecimal digits (FIPS 180-4). React Native has no crypto.subtle. */
function sha1(bytes: string): string {
  const bits = bytes.length * 8;
  const message: number[] = [];
  [...bytes, "\x80"].forEach((byte, at) => (message[at >> 2]! |= byte.charCodeAt(0) << (24 - (at % 4) * 8)));
  message[(((bits + 64) >> 9) << 4) + 15] = bits;
  const sum = [0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0];
  for (let block = 0; block < message.length; block += 16) {
    const words = message.slice(block, block + 16);
    let [a, b, c, d, e] = sum as [number, number, number, number, number];
    for (let n = 0; n < 80; n++) {
      const mixed = words[n - 3]! ^ words[n - 8]! ^ words[n - 14]! ^ words[n - 16]!;
      const word = (words[n] = n < 16 ? words[n]! | 0 : turn(mixed, 1));
      const round = Math.floor(n / 20);
      const of = [(b & c) | (~b & d), b ^ c ^ d, (b & c) | (b & d) | (c & d), b ^ c ^ d][round]!;
      const constant = 2 ** 30 * Math.sqrt([2, 3, 5, 10][round]!);
      [a, b, c, d, e] = [(turn(a, 5) + of + e + Math.floor(constant) + word) | 0, a, turn(b, 30), c, d];
    }
    [a, b, c, d, e].forEach((value, at) => (sum[at]! += value));
  }
  return sum.map((value) => (value >>> 0).toString(16).padStart(8, "0")).join("");
}

function turn(word: number, by: number): number {
  return (word << by) | (word >>> (32 - by));
}
