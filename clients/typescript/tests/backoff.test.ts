import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { RealtimeClient, type RealtimeStatus } from "../src/index.js";
import { backoffMs } from "../src/backoff.js";

/** A socket without a network: the test says what happens to it. */
class FakeSocket {
  static all: FakeSocket[] = [];
  static get last(): FakeSocket {
    return FakeSocket.all[FakeSocket.all.length - 1] as FakeSocket;
  }
  readyState = 0;
  sent: any[] = [];
  onopen: ((event: any) => void) | null = null;
  onmessage: ((event: any) => void) | null = null;
  onclose: ((event: any) => void) | null = null;
  onerror: ((event: any) => void) | null = null;

  constructor(
    readonly url: string,
    readonly protocols: string[] = [],
  ) {
    FakeSocket.all.push(this);
  }
  send(text: string): void {
    this.sent.push(JSON.parse(text));
  }
  close(): void {
    this.readyState = 3;
  }
  protocol = "";
  open(protocol = ""): void {
    this.protocol = protocol;
    this.readyState = 1;
    this.onopen?.({});
  }
  say(frame: object): void {
    this.onmessage?.({ data: JSON.stringify(frame) });
  }
  end(code = 1006): void {
    this.readyState = 3;
    this.onclose?.({ code, reason: "" });
  }
}

beforeEach(() => {
  vi.useFakeTimers();
  vi.spyOn(console, "warn").mockImplementation(() => {});
  FakeSocket.all = [];
});
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

function client(more: object = {}): RealtimeClient {
  const fetch = async () => new Response('{"messages":[]}');
  return new RealtimeClient({ projectId: "demo", baseUrl: "http://host/v1", WebSocket: FakeSocket, random: () => 0, fetch, ...more });
}

test("the delay doubles from 1 s to 30 s, with up to 30 % more", () => {
  expect([0, 1, 2, 3, 4, 5, 50].map((attempt) => backoffMs(attempt, () => 0))).toEqual([
    1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000,
  ]);
  expect(backoffMs(0, () => 0.999_999)).toBeCloseTo(1_300, 0);
  expect(backoffMs(9, () => 0.999_999)).toBeCloseTo(39_000, 0);
});

test("attempts come later and later, and a frame of the server makes the first delay short again", async () => {
  const realtime = client();
  realtime.connect().catch(() => {});
  for (const delay of [1_000, 2_000, 4_000, 8_000]) {
    const before = FakeSocket.all.length;
    FakeSocket.last.end();
    await vi.advanceTimersByTimeAsync(delay - 1);
    expect(FakeSocket.all.length).toBe(before);
    await vi.advanceTimersByTimeAsync(1);
    expect(FakeSocket.all.length).toBe(before + 1);
  }
  FakeSocket.last.open();
  FakeSocket.last.end(); // accepted and closed at once: still no short delay
  await vi.advanceTimersByTimeAsync(15_999);
  expect(FakeSocket.all.length).toBe(5);
  await vi.advanceTimersByTimeAsync(1);
  FakeSocket.last.open();
  FakeSocket.last.say({ type: "pong" });
  FakeSocket.last.end(1012);
  await vi.advanceTimersByTimeAsync(1_000);
  expect(FakeSocket.all.length).toBe(7);
});

test("the status goes through its states", async () => {
  const realtime = client();
  const seen: RealtimeStatus[] = [realtime.status];
  realtime.onStatusChange((status) => seen.push(status));
  const connected = realtime.connect();
  FakeSocket.last.open();
  await connected;
  FakeSocket.last.end();
  await vi.advanceTimersByTimeAsync(1_000);
  FakeSocket.last.open();
  realtime.disconnect();
  expect(seen).toEqual(["idle", "connecting", "connected", "reconnecting", "connected", "disconnected"]);
  await vi.advanceTimersByTimeAsync(100_000);
  expect(FakeSocket.all.length).toBe(2);
});

test("too many attempts end with onMaxRetriesExceeded, and waiting publishes are rejected", async () => {
  const realtime = client({ maxReconnectAttempts: 2 });
  const gaveUp = vi.fn();
  realtime.onMaxRetriesExceeded(gaveUp);
  const published = realtime.channel("chat/x").publish("e", 1, { persist: true });
  FakeSocket.last.end();
  await vi.advanceTimersByTimeAsync(1_000);
  FakeSocket.last.end();
  await vi.advanceTimersByTimeAsync(2_000);
  expect(gaveUp).not.toHaveBeenCalled();
  FakeSocket.last.end();
  expect(gaveUp).toHaveBeenCalledOnce();
  expect(realtime.status).toBe("disconnected");
  await expect(published).rejects.toMatchObject({ code: 903 });
});

test("it pings every 30 s, and silence after a ping ends the socket without waiting for its close", async () => {
  const realtime = client();
  realtime.connect().catch(() => {});
  FakeSocket.last.open();
  await vi.advanceTimersByTimeAsync(30_000);
  expect(FakeSocket.last.sent).toEqual([{ type: "ping" }]);
  FakeSocket.last.say({ type: "pong" });
  await vi.advanceTimersByTimeAsync(30_000);
  expect(realtime.status).toBe("connected");
  await vi.advanceTimersByTimeAsync(10_000);
  expect(realtime.status).toBe("reconnecting");
  await vi.advanceTimersByTimeAsync(1_000);
  expect(FakeSocket.all.length).toBe(2);
});

test("credentials go into subprotocols, never into the address", () => {
  const realtime = client({ apiKey: "pk_1", token: "t.o.k", userId: "ann" });
  realtime.connect().catch(() => {});
  expect(FakeSocket.last.protocols).toEqual([
    "aerostack-key.pk_1",
    "aerostack-token.t.o.k",
    "aerostack-v1",
    "flarelet-v1",
  ]);
  expect(FakeSocket.last.url).toBe("ws://host/api/realtime?projectId=demo&userId=ann");
  expect(() => client({ apiKey: "a=b" })).toThrow(/apiKey/);
});

test("setToken speaks on the live connection and counts for the next", async () => {
  const realtime = client({ token: "one" });
  realtime.connect().catch(() => {});
  FakeSocket.last.open();
  realtime.setToken("two");
  expect(FakeSocket.last.sent).toEqual([{ type: "auth", token: "two" }]);
  FakeSocket.last.end();
  await vi.advanceTimersByTimeAsync(1_000);
  expect(FakeSocket.last.protocols).toContain("aerostack-token.two");
});

test("subscriptions and presence are restored at every connection, before waiting publishes", async () => {
  const realtime = client();
  const room = realtime.channel("room/1").subscribe();
  room.track({ name: "Ann" });
  const published = room.publish("said", "hi", { persist: true, id: "p-1" });
  FakeSocket.last.open();
  const expected = [
    { type: "subscribe", topic: "room/1/demo" },
    { type: "track", topic: "room/1/demo", state: { name: "Ann" } },
    { type: "publish", topic: "room/1/demo", event: "said", data: "hi", persist: true, id: "p-1" },
  ];
  expect(FakeSocket.last.sent).toEqual(expected);
  FakeSocket.last.end(); // before the ack: sent again under the same id
  await vi.advanceTimersByTimeAsync(1_000);
  FakeSocket.last.open();
  expect(FakeSocket.last.sent).toEqual(expected);
  FakeSocket.last.say({ type: "ack", id: "p-1", timestamp: 5 });
  await expect(published).resolves.toMatchObject({ id: "p-1", timestamp: 5 });
});

test("the queue is bounded, and a publish that is not persisted is not sent late", async () => {
  const realtime = client({ maxQueue: 2, ackTimeoutMs: 5_000 });
  const room = realtime.channel("room/1");
  const cursor = room.publish("cursor", 1);
  const said = room.publish("said", 1, { persist: true });
  await expect(room.publish("more", 1)).rejects.toMatchObject({ code: 901 });
  const late = expect(cursor).rejects.toMatchObject({ code: 902 });
  await vi.advanceTimersByTimeAsync(5_000);
  await late;
  FakeSocket.last.open();
  expect(FakeSocket.last.sent.map((frame) => frame.event)).toEqual(["said"]);
  const unanswered = expect(said).rejects.toMatchObject({ code: 902 });
  await vi.advanceTimersByTimeAsync(5_000);
  await unanswered;
});

test("one channel that leaves does not silence the others of its topic", async () => {
  const realtime = client();
  const heard: string[] = [];
  const first = realtime.channel("orders").on("INSERT", () => heard.push("first")).subscribe();
  const second = realtime.channel("table/orders").on("INSERT", () => heard.push("second")).subscribe();
  FakeSocket.last.open();
  expect(FakeSocket.last.sent).toEqual([{ type: "subscribe", topic: "table/orders/demo" }]);
  FakeSocket.last.say({ type: "subscribed", topic: "table/orders/demo" });
  const change = { type: "db_change", topic: "table/orders/demo", operation: "INSERT", data: { id: 1 } };
  FakeSocket.last.say(change);
  first.unsubscribe();
  await vi.advanceTimersByTimeAsync(0);
  FakeSocket.last.say(change);
  expect(heard).toEqual(["first", "second", "second"]);
  second.unsubscribe();
  await vi.advanceTimersByTimeAsync(0);
  expect(FakeSocket.last.sent.at(-1)).toEqual({ type: "unsubscribe", topic: "table/orders/demo" });
});

test("leaving and entering in one go sends nothing", async () => {
  const realtime = client();
  const view = realtime.channel("room/1").subscribe();
  FakeSocket.last.open();
  view.unsubscribe();
  realtime.channel("room/1").subscribe();
  await vi.advanceTimersByTimeAsync(0);
  expect(FakeSocket.last.sent).toHaveLength(1);
});

test("errors are events with a number, and reject the publish they are about", async () => {
  const realtime = client();
  const errors: number[] = [];
  realtime.onError((error) => errors.push(error.code));
  const room = realtime.channel("room/1");
  const ofRoom = vi.fn();
  room.onError(ofRoom);
  const published = room.publish("e", 1, { id: "p-1" });
  FakeSocket.last.open();
  FakeSocket.last.say({ type: "error", code: 302, name: "REFUSED", message: "no", retry: false, ref: { type: "publish", channel: "room/1/demo", id: "p-1" } });
  await expect(published).rejects.toMatchObject({ code: 302, name: "REFUSED", retry: false });
  expect(errors).toEqual([302]);
  expect(ofRoom).toHaveBeenCalledOnce();
  await expect(room.publish("e", 1n)).rejects.toMatchObject({ code: 904 });
});

test("a handler that throws stops neither the others nor the connection", () => {
  const realtime = client();
  const report = vi.spyOn(console, "error").mockImplementation(() => {});
  const heard = vi.fn();
  realtime.channel("room/1").on("e", () => { throw new Error("mine"); }).on("e", heard).subscribe();
  FakeSocket.last.open();
  FakeSocket.last.say({ type: "event", topic: "room/1/demo", event: "e", data: 1 });
  expect(heard).toHaveBeenCalledOnce();
  expect(report).toHaveBeenCalledOnce();
});

test("members of an earlier connection go when the server knows nobody", async () => {
  const realtime = client();
  const room = realtime.channel("room/1").subscribe();
  FakeSocket.last.open();
  const topic = "room/1/demo";
  FakeSocket.last.say({ type: "subscribed", topic });
  FakeSocket.last.say({ type: "event", topic, event: "presence:sync", data: { users: [{ userId: "ann", state: { x: 1 } }] } });
  FakeSocket.last.say({ type: "event", topic, event: "presence:join", data: { userId: "bob", state: {} } });
  expect([...room.presence.members.keys()]).toEqual(["ann", "bob"]);
  FakeSocket.last.end();
  await vi.advanceTimersByTimeAsync(1_000);
  FakeSocket.last.open();
  FakeSocket.last.say({ type: "subscribed", topic });
  expect(room.presence.members.size).toBe(0);
});

/** A client of a server that speaks flarelet-v1, subscribed to one topic. */
function negotiated(name = "room/1", options = {}) {
  const realtime = client();
  const channel = realtime.channel(name, options);
  const told: unknown[] = [];
  channel.on("*", ({ event, data, recovered }) => told.push(recovered ? [event, data, "missed"] : [event, data]));
  channel.onRecovered(({ count }) => told.push(["recovered", count]));
  channel.onGap(({ reason, from, to }) => told.push(["gap", reason, from, to]));
  channel.subscribe();
  FakeSocket.last.open("flarelet-v1");
  return { realtime, channel, told, topic: channel.topic };
}
const event = (topic: string, offset: number, epoch = "e1") => ({ type: "event", topic, event: "n", data: offset, epoch, offset });

test("a subscription that comes back sends its position, and the verdict is told after what was missed", async () => {
  const { told, topic } = negotiated();
  FakeSocket.last.say({ type: "subscribed", topic, epoch: "e1", offset: 4 });
  FakeSocket.last.say(event(topic, 5));
  FakeSocket.last.end();
  await vi.advanceTimersByTimeAsync(1_000);
  FakeSocket.last.open("flarelet-v1");
  expect(FakeSocket.last.sent).toEqual([{ type: "subscribe", topic, since: { epoch: "e1", offset: 5 } }]);
  FakeSocket.last.say({ type: "subscribed", topic, epoch: "e1", offset: 7 });
  FakeSocket.last.say({ type: "recovered", topic, epoch: "e1", offset: 7, count: 2 });
  for (const offset of [6, 7, 7, 8]) FakeSocket.last.say(event(topic, offset)); // one of them twice
  expect(told).toEqual([["n", 5], ["n", 6, "missed"], ["n", 7, "missed"], ["recovered", 2], ["n", 8]]);
});

test("a transaction's end and a gap count among what was missed", async () => {
  const { told, topic } = negotiated("orders");
  FakeSocket.last.say({ type: "subscribed", topic, epoch: "d", offset: 1 });
  FakeSocket.last.end();
  await vi.advanceTimersByTimeAsync(1_000);
  FakeSocket.last.open("flarelet-v1");
  FakeSocket.last.say({ type: "subscribed", topic, epoch: "d", offset: 5 });
  FakeSocket.last.say({ type: "recovered", topic, epoch: "d", offset: 5, count: 3 });
  FakeSocket.last.say(event(topic, 2, "d"));
  const ends = [{ epoch: "d", offset: 2 }, { epoch: "d", offset: 4 }];
  FakeSocket.last.say({ type: "gap", topic, from: ends[0], to: ends[1], reason: "resync", count: 0 });
  FakeSocket.last.say({ type: "transaction", topic, txn: 2, epoch: "d", offset: 5 });
  FakeSocket.last.say(event(topic, 6, "d"));
  expect(told).toEqual([["n", 2, "missed"], ["gap", "resync", ...ends], ["recovered", 3], ["n", 6]]);
});

test("a gap is told with its ends, and the position after it counts", async () => {
  const { told, topic } = negotiated();
  FakeSocket.last.say({ type: "subscribed", topic, epoch: "e1", offset: 4 });
  FakeSocket.last.end();
  await vi.advanceTimersByTimeAsync(1_000);
  FakeSocket.last.open("flarelet-v1");
  FakeSocket.last.say({ type: "subscribed", topic, epoch: "e2", offset: 9 });
  const [from, to] = [{ epoch: "e1", offset: 4 }, { epoch: "e2", offset: 9 }];
  FakeSocket.last.say({ type: "gap", topic, from, to, reason: "epoch", count: 0 });
  expect(told).toEqual([["gap", "epoch", from, to]]);
  FakeSocket.last.say(event(topic, 10, "e2"));
  FakeSocket.last.end();
  await vi.advanceTimersByTimeAsync(1_000);
  FakeSocket.last.open("flarelet-v1");
  expect(FakeSocket.last.sent).toEqual([{ type: "subscribe", topic, since: { epoch: "e2", offset: 10 } }]);
});

test("after a gap a table with rows is asked for its rows again", () => {
  const { channel, topic } = negotiated("orders", { snapshot: true });
  const rows: unknown[] = [];
  channel.onSnapshot((all) => rows.push(all));
  expect(FakeSocket.last.sent).toEqual([{ type: "subscribe", topic, snapshot: true }]);
  FakeSocket.last.say({ type: "subscribed", topic, epoch: "d", offset: 1 });
  FakeSocket.last.say({ type: "snapshot", topic, rows: [{ id: 1 }], epoch: "d", offset: 1, part: 0, last: false });
  FakeSocket.last.say({ type: "snapshot", topic, rows: [{ id: 2 }], epoch: "d", offset: 1, part: 1, last: true });
  expect(rows).toEqual([[{ id: 1 }, { id: 2 }]]);
  FakeSocket.last.say({ type: "gap", topic, from: null, to: null, reason: "resync", count: 0 });
  expect(FakeSocket.last.sent.at(-1)).toEqual({ type: "subscribe", topic, snapshot: true });
});

test("presence is a list and the changes after it; a missing change asks for the list", () => {
  const { channel, told, topic } = negotiated();
  const presence = (kind: string, version: number, more: object) => ({
    type: "presence", topic, kind, epoch: "e", version, occupancy: { users: 1, connections: 1 }, ...more,
  });
  const ann = { userId: "ann", state: { x: 1 }, connections: ["c1"] };
  FakeSocket.last.say({ type: "subscribed", topic, epoch: "e1", offset: 0 });
  FakeSocket.last.say(presence("snapshot", 3, { users: [ann] }));
  FakeSocket.last.say(presence("diff", 4, { joins: [{ userId: "bob", state: {}, connections: ["c2"] }], leaves: ["ann"] }));
  expect([...channel.presence.members.keys()]).toEqual(["bob"]);
  expect(told.map((one: any) => one[0])).toEqual(["presence:sync", "presence:join", "presence:leave"]);
  FakeSocket.last.say(presence("diff", 6, { leaves: ["bob"] }));
  expect(FakeSocket.last.sent.at(-1)).toEqual({ type: "presence", topic });
  expect([...channel.presence.members.keys()]).toEqual(["bob"]);
  FakeSocket.last.say(presence("snapshot", 6, { users: [] }));
  expect(channel.presence.members.size).toBe(0);
});

test("a server that speaks the public protocol only says nothing of what was missed: that is a gap", async () => {
  const realtime = client();
  const gaps: string[] = [];
  const room = realtime.channel("room/1", { columns: ["id"], snapshot: true }).subscribe();
  room.onGap(({ reason }) => gaps.push(reason));
  FakeSocket.last.open();
  expect(FakeSocket.last.sent).toEqual([{ type: "subscribe", topic: "room/1/demo" }]);
  FakeSocket.last.say({ type: "subscribed", topic: "room/1/demo" });
  FakeSocket.last.end();
  await vi.advanceTimersByTimeAsync(1_000);
  FakeSocket.last.open();
  FakeSocket.last.say({ type: "subscribed", topic: "room/1/demo" });
  expect(gaps).toEqual(["server"]);
});
