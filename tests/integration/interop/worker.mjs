// The Worker that miniflare runs. POST a list of steps to / (the database) or /<object name> (that object's storage);
// the answer lists {ok} or {error} for each. A step is [operation, ...arguments], see the tables below.
import { DurableObject } from "cloudflare:workers";
import { VALUES, described, made } from "./values.mjs";

const failure = (error) => ({ name: error.name, message: error.message });

async function perform(operations, steps, ...context) {
  const results = [];
  for (const [operation, ...args] of steps) {
    try {
      results.push({ ok: described(await operations[operation](...context, ...args)) });
    } catch (error) {
      results.push({ error: failure(error) });
    }
  }
  return results;
}

const STORAGE = {
  get: ({ storage }, key) => storage.get(key),
  put: ({ storage }, key, value) => storage.put(key, made(value)),
  put_many: ({ storage }, entries) => storage.put(made(entries)),
  delete: ({ storage }, key) => storage.delete(key),
  list: ({ storage }, options) => storage.list(options),
  sql: ({ storage }, sql, ...values) => storage.sql.exec(sql, ...values.map(made)).raw().toArray(),
  columns: ({ storage }, sql) => {
    const cursor = storage.sql.exec(sql);
    const names = cursor.columnNames;
    cursor.toArray(); // an open cursor would lock its table until it is collected
    return names;
  },
  put_kinds: async ({ storage }) => {
    for (const [name, make] of Object.entries(VALUES)) await storage.put(name, make());
  },
  set_alarm: ({ storage }, at) => storage.setAlarm(at),
  get_alarm: ({ storage }) => storage.getAlarm(),
  delete_alarm: ({ storage }) => storage.deleteAlarm(),
  wait_for_alarm: ({ rung }) => rung,
  delete_all: ({ storage }) => storage.deleteAll(),
  transaction: async (object, keep, steps) => {
    const results = [];
    try {
      await object.storage.transaction(async () => {
        results.push(...(await perform(STORAGE, steps, object)));
        if (!keep) throw new Error("undo");
      });
    } catch (error) {
      results.push(failure(error));
    }
    return results;
  },
};

export class Keeper extends DurableObject {
  constructor(ctx, env) {
    super(ctx, env);
    this.storage = ctx.storage;
    this.rung = new Promise((resolve) => (this.ring = resolve));
  }

  async alarm(info) {
    this.ring({ name: this.ctx.id.name, scheduledTime: info.scheduledTime, retryCount: info.retryCount });
  }

  async perform(steps) {
    return perform(STORAGE, steps, this);
  }
}

const bound = (db, sql, values) => {
  const statement = db.prepare(sql);
  return values == null ? statement : statement.bind(...values.map(made));
};

const answer = ({ results, meta }) => ({ results, changes: meta.changes, last_row_id: meta.last_row_id });

const DATABASE = {
  run: async (db, sql, values) => answer(await bound(db, sql, values).run()),
  all: async (db, sql, values) => answer(await bound(db, sql, values).all()),
  first: (db, sql, values, column) => bound(db, sql, values).first(column ?? undefined),
  raw: (db, sql, values, columnNames) => bound(db, sql, values).raw({ columnNames }),
  batch: async (db, statements) => (await db.batch(statements.map(([sql, values]) => bound(db, sql, values)))).map(answer),
  exec: async (db, sql) => (await db.exec(sql)).count,
};

const collected = async (value) =>
  value instanceof ReadableStream ? new Uint8Array(await new Response(value).arrayBuffer()) : value;

const NAMESPACE = {
  get: async (kv, key, options) => collected(await kv.get(key, options ?? undefined)),
  get_with_metadata: (kv, key, options) => kv.getWithMetadata(key, options ?? undefined),
  put: (kv, key, value, options) => kv.put(key, made(value), options ?? undefined),
  put_stream: (kv, key, text) => kv.put(key, new Response(text).body),
  delete: (kv, key) => kv.delete(key),
  list: (kv, options) => kv.list(options ?? undefined),
};

export default {
  async fetch(request, env) {
    const { object, steps, names, namespace } = await request.json();
    if (namespace) return Response.json(await perform(NAMESPACE, steps, env.KV));
    if (names !== undefined) return Response.json(names.map((name) => String(env.KEEPER.idFromName(name))));
    if (object === undefined) return Response.json(await perform(DATABASE, steps, env.DB));
    return Response.json(await env.KEEPER.getByName(object).perform(steps));
  },
};
