import { afterAll, afterEach, beforeAll, expect, test, vi } from "vitest";
import WebSocket from "ws";
import { Server, until } from "../../testing/server.js";
import { createClient, type FlareletClient, type Gap, type RealtimePayload, type Recovered } from "../src/index.js";

const server = new Server();
const clients: FlareletClient[] = [];

beforeAll(async () => {
  await server.start();
  await server.sql("CREATE TABLE orders (id INTEGER PRIMARY KEY, customer TEXT, total REAL)");
});
afterEach(() => {
  for (const client of clients.splice(0)) client.realtime.disconnect();
  vi.restoreAllMocks();
});
afterAll(() => server.remove());

function connect(userId?: string, more: object = {}): FlareletClient {
  const random = () => 0;
  const client = createClient({ projectId: "demo", baseUrl: `${server.url}/v1`, userId, WebSocket, random, ...more });
  client.realtime.onError(() => {});
  clients.push(client);
  return client;
}

test("committed row changes arrive", async () => {
  const { realtime } = connect();
  const seen: unknown[] = [];
  const orders = realtime
    .channel("orders")
    .on("INSERT", ({ data }) => seen.push(["insert", data]))
    .on("UPDATE", ({ data, old }) => seen.push(["update", data.total, old.total]))
    .on("DELETE", ({ data }) => seen.push(["delete", data.id]))
    .subscribe();
  await until(() => orders.isReady, "subscribed");
  await server.sql("INSERT INTO orders (id, customer, total) VALUES (1, 'Zoë 🙂', 2.5)");
  await server.sql("UPDATE orders SET total = 3 WHERE id = 1");
  await server.sql("DELETE FROM orders");
  await until(() => seen.length === 3, "three changes");
  expect(seen).toEqual([
    ["insert", { id: 1, customer: "Zoë 🙂", total: 2.5 }],
    ["update", 3, 2.5],
    ["delete", 1],
  ]);
});

test("a publish is acknowledged, arrives, and is in the history", async () => {
  const { realtime } = connect("ann");
  const seen: RealtimePayload[] = [];
  const room = realtime.channel("chat/general").on("message", (payload) => seen.push(payload)).subscribe();
  const ack = await room.publish("message", { text: "hé", nested: [{ n: 1.5 }] }, { persist: true });
  expect(ack).toMatchObject({ persisted: true, offset: 1 });
  await until(() => seen.length === 1, "the echo");
  expect(seen[0]).toMatchObject({ userId: "ann", id: ack.id, data: { text: "hé", nested: [{ n: 1.5 }] } });
  await room.publish("message", { text: "two" }, { persist: true });
  const history = await room.getHistory(1);
  expect(history.map(({ data }) => data.text)).toEqual(["two"]);
  const older = await room.getHistory(50, history[0]?.created_at);
  expect(older.map(({ id }) => id)).toEqual([ack.id]);
});

test("a refused publish rejects with the server's number", async () => {
  const { realtime } = connect();
  await expect(realtime.channel("strict/x").publish("e", 1)).rejects.toMatchObject({ code: 302, name: "REFUSED" });
  await expect(realtime.channel("chat/x").getHistory(0)).rejects.toMatchObject({ code: 601 });
});

test("chat arrives as chat_message", async () => {
  const { realtime } = connect("ann");
  const seen: RealtimePayload[] = [];
  const room = realtime.chatRoom("lobby").on("*", (payload) => seen.push(payload)).subscribe();
  await until(() => room.isReady, "subscribed");
  realtime.sendChat("lobby", "hello", { mood: "good" });
  await until(() => seen.length === 1, "the message");
  expect(seen[0]).toMatchObject({ type: "chat_message", data: { text: "hello", metadata: { mood: "good" } }, userId: "ann" });
});

test("presence is a live map", async () => {
  const ann = connect("ann").realtime.channel("room/1").subscribe();
  ann.track({ x: 1 });
  await until(() => ann.presence.members.size === 1, "ann");
  const bobs = connect("bob").realtime;
  const bob = bobs.channel("room/1").subscribe();
  bob.track({ x: 2 });
  await until(() => ann.presence.members.size === 2 && bob.presence.members.size === 2, "both see both");
  bob.track({ x: 3 });
  await until(() => ann.presence.members.get("bob")?.state.x === 3, "the new state");
  bobs.disconnect();
  await until(() => ann.presence.members.size === 1, "bob left");
});

test("a restart of the server loses nothing: subscription, presence, missed and unsent messages", async () => {
  const { realtime } = connect("ann");
  const texts: string[] = [];
  const recovered: Recovered[] = [];
  const gaps: Gap[] = [];
  const room = realtime.channel("chat/restart").on("message", ({ data }) => texts.push(data)).subscribe();
  room.onRecovered((value) => recovered.push(value));
  room.onGap((value) => gaps.push(value));
  const rows: number[] = [];
  const orders = realtime.channel("orders").on("INSERT", ({ data }) => rows.push(data.id)).subscribe();
  orders.onGap((value) => gaps.push(value));
  orders.onRecovered((value) => recovered.push(value));
  room.track({ here: true });
  await room.publish("message", "one", { persist: true });
  await until(() => texts.length === 1 && room.presence.members.size === 1 && orders.isReady, "the start");

  await server.stop("SIGKILL");
  await until(() => realtime.status === "reconnecting", "the loss");
  const unsent = room.publish("message", "three", { persist: true });
  await server.start();
  const bob = connect("bob").realtime.channel("chat/restart");
  await bob.publish("message", "two", { persist: true });
  await server.sql("INSERT INTO orders (id) VALUES (6)"); // perhaps before the client is back

  expect(await unsent).toMatchObject({ persisted: true });
  await until(() => recovered.length === 2, "the verdicts");
  await until(() => texts.length === 3 && rows.length === 1, "everything");
  expect([...texts].sort()).toEqual(["one", "three", "two"]);
  expect(new Set(texts).size).toBe(3);
  expect(gaps).toEqual([]);
  await until(() => room.presence.members.has("ann"), "presence");
  await server.sql("INSERT INTO orders (id) VALUES (7)");
  await room.publish("message", "four", { persist: true });
  await until(() => texts.length === 4 && rows.length === 2, "live again");
  expect(rows).toEqual([6, 7]);
});

test("what was missed comes in order and once", async () => {
  const { realtime } = connect();
  const seen: number[] = [];
  const recovered: Recovered[] = [];
  let socket: WebSocket | undefined;
  class Cut extends WebSocket {
    constructor(url: string, protocols?: string[]) {
      super(url, protocols);
      socket = this;
    }
  }
  const cut = connect("cut", { WebSocket: Cut, random: () => 0 });
  const room = cut.realtime.channel("chat/pages").on("n", ({ data }) => seen.push(data)).subscribe();
  room.onRecovered((value) => recovered.push(value));
  const writer = realtime.channel("chat/pages");
  await until(() => room.isReady, "subscribed");
  await writer.publish("n", 0, { persist: true });
  await until(() => seen.length === 1, "the first");
  socket?.terminate();
  await Promise.all(Array.from({ length: 90 }, (_, n) => writer.publish("n", n + 1, { persist: true })));
  await Promise.all(Array.from({ length: 90 }, (_, n) => writer.publish("n", n + 91, { persist: true })));
  await until(() => recovered.length === 1, "recovered");
  await writer.publish("n", 181, { persist: true });
  await until(() => seen.at(-1) === 181, "the newest");
  expect(seen).toEqual(Array.from({ length: 182 }, (_, n) => n));
  expect(recovered[0]?.count).toBe(180);
});

test("a loss without any history before it is recovered too", async () => {
  let socket: WebSocket | undefined;
  class Cut extends WebSocket {
    constructor(url: string, protocols?: string[]) {
      super(url, protocols);
      socket = this;
    }
  }
  const { realtime } = connect("cut", { WebSocket: Cut });
  const seen: unknown[] = [];
  const verdicts: unknown[] = [];
  const room = realtime.channel("chat/fresh").on("e", ({ data, recovered }) => seen.push([data, recovered])).subscribe();
  room.onRecovered((value) => verdicts.push(value.count));
  room.onGap((value) => verdicts.push(value));
  await until(() => room.isReady, "subscribed");
  socket?.terminate();
  await connect().realtime.channel("chat/fresh").publish("e", "missed", { persist: true });
  await until(() => verdicts.length, "the verdict");
  expect(verdicts).toEqual([1]);
  expect(seen).toEqual([["missed", true]]);
});

test("unknown tables are an error event", async () => {
  const { realtime } = connect();
  const errors: number[] = [];
  const channel = realtime.channel("nothing");
  channel.onError((error) => errors.push(error.code));
  channel.subscribe();
  await until(() => errors.length, "the error");
  expect(errors).toEqual([304]);
});

test("a table begins with its rows, and the changes after them follow without a gap", async () => {
  await server.sql("CREATE TABLE IF NOT EXISTS items (id INTEGER PRIMARY KEY, name TEXT, price INTEGER)");
  await server.sql("DELETE FROM items");
  await server.sql("INSERT INTO items (name, price) VALUES ('tea', 3), ('milk', 2), ('cake', 9)");
  const { realtime } = connect();
  const seen: unknown[] = [];
  const items = realtime.channel<any>("items", { snapshot: true, filter: { price: { lt: 5 } } });
  items.onSnapshot((rows) => seen.push(rows.map((row: any) => row.name)));
  items.on("*", ({ operation, data }) => seen.push([operation, data.name])).subscribe();
  await until(() => seen.length === 1, "the rows");
  expect(seen).toEqual([["tea", "milk"]]);
  await server.sql("INSERT INTO items (name, price) VALUES ('jam', 4), ('wine', 20)");
  await server.sql("UPDATE items SET price = 1 WHERE name = 'cake'"); // it comes into the view
  await server.sql("UPDATE items SET price = 30 WHERE name = 'tea'"); // and this leaves it
  await until(() => seen.length === 4, "the changes");
  expect(seen.slice(1)).toEqual([["INSERT", "jam"], ["INSERT", "cake"], ["DELETE", "tea"]]);
});

test("one more view of a table is told its rows as well", async () => {
  await server.sql("CREATE TABLE IF NOT EXISTS things (id INTEGER PRIMARY KEY)");
  await server.sql("INSERT OR IGNORE INTO things VALUES (1), (2)");
  const { realtime } = connect();
  const counts: number[][] = [[], []];
  for (const seen of counts) {
    const things = realtime.channel("things", { snapshot: true });
    things.onSnapshot((rows) => seen.push(rows.length));
    things.subscribe();
    await until(() => seen.length, "the rows");
  }
  expect(counts[1]).toEqual([2]);
});
