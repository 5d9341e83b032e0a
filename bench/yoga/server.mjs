// `node server.mjs bare|full PORT` serves dailyStats with graphql-yoga and pg. With `full`, the server also
// verifies each token once; later requests with the same token look up its hash. One Redis pipeline counts the request
// and looks up the cached result. If no result is cached, the server queries PostgreSQL and stores the result in Redis.

import { hash } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { GraphQLError } from "graphql";
import { createSchema, createYoga } from "graphql-yoga";
import { Redis } from "ioredis";
import { createRemoteJWKSet, jwtVerify } from "jose";
import pg from "pg";

const [mode, port] = process.argv.slice(2);
const { AUTH_AUDIENCE, AUTH_ISSUER, AUTH_JWKS_URL, RATE_LIMIT_PER_MINUTE, REDIS_URL } = process.env;

pg.types.setTypeParser(pg.types.builtins.INT8, Number);
pg.types.setTypeParser(pg.types.builtins.DATE, (text) => text);

const text = readFileSync(new URL("daily.sql", import.meta.url), "utf8");
const pool = new pg.Pool({ max: 10, idleTimeoutMillis: 0 }); // pg reads PGHOST etc. from the environment

async function read(userId, from, to) {
  return (await pool.query({ name: "daily", text, values: [userId, from, to] })).rows;
}

function bare(_, { userId, from, to }) {
  return read(userId, from, to);
}

function full() {
  const redis = new Redis(REDIS_URL);
  const keys = createRemoteJWKSet(new URL(AUTH_JWKS_URL));
  const trusted = { issuer: AUTH_ISSUER, audience: AUTH_AUDIENCE, algorithms: ["RS256", "ES256"] };
  const limit = Number(RATE_LIMIT_PER_MINUTE ?? 100);
  const known = new Map();

  async function caller(authorization) {
    if (!authorization?.startsWith("Bearer ")) throw refusal("UNAUTHENTICATED", 401);
    const token = authorization.slice(7);
    const digest = hash("sha256", token, "base64");
    let claims = known.get(digest);
    if (claims === undefined || claims.exp * 1000 <= Date.now()) {
      claims = (await jwtVerify(token, keys, trusted)).payload;
      known.set(digest, claims);
    }
    return claims.sub;
  }

  return async (_, { from, to }, { request }) => {
    const userId = await caller(request.headers.get("authorization"));
    const counter = `yoga:rate:${userId}:${Math.floor(Date.now() / 60_000)}`;
    const key = `yoga:dailyStats:${userId}:${from}:${to}`;
    const [[, count], , [, held]] = await redis
      .pipeline().incr(counter).expire(counter, 60).get(key).exec();
    if (count > limit) throw refusal("RATE_LIMITED", 429);
    if (held) return JSON.parse(held);
    const rows = await read(userId, from, to);
    redis.set(key, JSON.stringify(rows), "EX", 600).catch(() => {});
    return rows;
  };
}

function refusal(code, status) {
  return new GraphQLError(code, { extensions: { code, http: { status } } });
}

const typeDefs = /* GraphQL */ `
  scalar Date
  type Query {
    dailyStats(userId: ID, from: Date!, to: Date!): [DailyStats!]!
  }
  type DailyStats {
    date: Date!
    sessionsCompleted: Int!
    studyTimeMinutes: Int!
    answers: Int!
    correctAnswers: Int!
    accuracyRate: Float
    averageResponseMs: Float
  }
`;

const yoga = createYoga({
  schema: createSchema({
    typeDefs,
    resolvers: { Query: { dailyStats: mode === "full" ? full() : bare } },
  }),
  logging: false,
  graphiql: false,
  landingPage: false,
  cors: false,
  multipart: false,
});

createServer(yoga).listen(Number(port), "127.0.0.1");
