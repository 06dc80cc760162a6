import { readdirSync, readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { RealtimeClient } from "../src/index.js";

const FOLDER = new URL("../../../tests/golden/frames/", import.meta.url);
const frames = Object.fromEntries(
  readdirSync(FOLDER)
    .filter((name) => name.endsWith(".json"))
    .map((name) => [name.slice(0, -5), JSON.parse(readFileSync(new URL(name, FOLDER), "utf8"))]),
);

class Loopback {
  static last: Loopback;
  readyState = 1;
  sent: any[] = [];
  onopen: any = null;
  onmessage: any = null;
  onclose: any = null;
  onerror: any = null;
  constructor() {
    Loopback.last = this;
    queueMicrotask(() => this.onopen?.({}));
  }
  send(text: string): void {
    this.sent.push(JSON.parse(text));
  }
  close(): void {}
}

async function connected(): Promise<RealtimeClient> {
  const fetch = async () => new Response('{"messages":[]}');
  const realtime = new RealtimeClient({ projectId: "demo", baseUrl: "http://host", WebSocket: Loopback, fetch });
  realtime.onError(() => {});
  await realtime.connect();
  return realtime;
}

const handed = Object.entries(frames).filter(([, { frame }]) => /^(event|db_change|chat_message)$/.test(frame.type));

test.each(handed)("%s reaches its handler whole", async (_name, { frame }) => {
  const realtime = await connected();
  // These files spell some topics without the project at the end; the channel then is of a client without one.
  const spelled = frame.topic.endsWith("/demo") ? realtime : new RealtimeClient({ baseUrl: "http://host", WebSocket: Loopback, fetch: async () => new Response('{"messages":[]}') });
  await spelled.connect();
  const seen: unknown[] = [];
  spelled.channel(frame.topic).on("*", (payload) => seen.push(payload)).on(frame.operation ?? frame.event ?? frame.type, (payload) => seen.push(payload)).subscribe();
  Loopback.last.onmessage({ data: JSON.stringify({ type: "subscribed", topic: frame.topic }) });
  Loopback.last.onmessage({ data: JSON.stringify(frame) });
  expect(seen).toEqual([frame, frame]);
  spelled.disconnect();
  realtime.disconnect();
});

test("what the client says is what the files say", async () => {
  const realtime = await connected();
  const general = realtime.channel("chat/general");
  general.subscribe();
  void general.publish("message", frames.client_publish.frame.data, { persist: true, id: "p-1" });
  realtime.channel("room/1").track({ name: "Ann" });
  realtime.sendChat("general", "hi", { mood: "good" });
  realtime.setToken("t.o.k");
  general.unsubscribe();
  await Promise.resolve();
  const suffixed = (frame: any) => ({ ...frame, topic: frame.topic.endsWith("/demo") ? frame.topic : `${frame.topic}/demo` });
  const { filter: _none, ...subscribe } = frames.client_subscribe.frame;
  expect(Loopback.last.sent).toEqual([
    subscribe,
    suffixed(frames.client_publish.frame),
    suffixed(frames.client_track.frame),
    frames.client_chat.frame,
    frames.client_auth.frame,
    frames.client_unsubscribe.frame,
  ]);
  realtime.disconnect();
});

test("a resync is a gap", async () => {
  const realtime = await connected();
  const gaps: string[] = [];
  realtime.channel("orders").subscribe().onGap(({ reason }) => gaps.push(reason));
  Loopback.last.onmessage({ data: JSON.stringify(frames.server_resync.frame) });
  expect(gaps).toEqual(["resync"]);
  realtime.disconnect();
});
