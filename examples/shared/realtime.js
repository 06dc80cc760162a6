/**
 * Realtime client for the browser: one WebSocket carries every topic of a page.
 *
 *     const realtime = new Realtime({ projectId: "demo", userId: "ada" });
 *     const room = realtime.channel("chat/general");
 *     room.onEvent("message", (frame) => console.log(frame.userId, frame.data));
 *     room.onReady(() => room.history({ limit: 50 }).then(show));   // first time and after each reconnect
 *     room.subscribe();
 *     room.track({ name: "Ada" });                                  // presence
 *     room.publish("message", { text: "hello" }, { persist: true });
 *     realtime.connect();
 *
 * What it promises:
 * - After a drop it reconnects by itself (1 s, doubling to 30 s, with jitter), subscribes again and tracks again.
 * - A persisted publish is kept until the server acknowledges it and is sent again, under the same id, after a
 *   reconnect. At most `maxPending` are kept; when full, `publish` returns null and nothing is sent.
 * - A publish that is not persisted (typing, cursors) is dropped while offline: sent late it would be wrong.
 * - A handler that throws never stops the others.
 *
 * Frames are JSON text. Out: subscribe, unsubscribe, publish, track, untrack, ping.
 * In: subscribed, event, chat_message, db_change, resync, ack, error, pong; whatever else arrives is ignored.
 */

const FIRST_RETRY_MS = 1_000;
const LAST_RETRY_MS = 30_000;
const PING_EVERY_MS = 30_000;
/** Silence after which a socket that still claims to be open is given up: two pings without any answer. */
const SILENCE_LIMIT_MS = 70_000;

/** @typedef {"idle" | "connecting" | "connected" | "reconnecting" | "closed"} Status */

export class Realtime {
  #url;
  #maxPending;
  #socket = null;
  #status = /** @type {Status} */ ("idle");
  #statusHandlers = new Set();
  #channels = new Map(); // topic as written -> Channel
  #pending = new Map(); // id -> persisted publish frame that has no ack yet, in order
  #attempts = 0;
  #retryTimer = 0;
  #pingTimer = 0;
  #heardAt = 0;

  /**
   * @param {{ projectId?: string, userId?: string, url?: string | URL, maxPending?: number }} options
   *   `url` is the endpoint; by default /api/realtime of the page's own server.
   */
  constructor({ projectId = "", userId = "", url, maxPending = 100 } = {}) {
    const endpoint = new URL(url ?? "/api/realtime", location.href);
    endpoint.protocol = endpoint.protocol.replace("http", "ws");
    if (projectId) endpoint.searchParams.set("projectId", projectId);
    if (userId) endpoint.searchParams.set("userId", userId);
    this.#url = endpoint;
    this.#maxPending = maxPending;
    this.userId = userId;
    addEventListener("online", () => this.#retryNow());
    document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && this.#retryNow());
  }

  /** The current connection status. */
  get status() {
    return this.#status;
  }

  /** Call `handler(status)` now and at every change. Returns a function that stops it. */
  onStatus(handler) {
    this.#statusHandlers.add(handler);
    handler(this.#status);
    return () => this.#statusHandlers.delete(handler);
  }

  /** The channel of `topic`: "chat/general" for pub/sub, "table/orders" for the rows of a D1 table. */
  channel(topic) {
    let channel = this.#channels.get(topic);
    if (!channel) this.#channels.set(topic, (channel = new Channel(topic, this)));
    return channel;
  }

  /** Open the connection, and keep it open until `close()`. */
  connect() {
    if (this.#socket || this.#status === "reconnecting") return;
    this.#setStatus("connecting");
    this.#open();
  }

  /** Close for good; `connect()` opens again. Subscriptions are remembered. */
  close() {
    clearTimeout(this.#retryTimer);
    this.#retryTimer = 0;
    this.#drop(1000, "page closed");
    this.#setStatus("closed");
  }

  /** Send a frame if the socket is open. Returns whether it was. For Channel; not part of the public face. */
  _send(frame) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(JSON.stringify(frame));
    return true;
  }

  /** Send a publish; a persisted one is kept until its ack. Returns its id, or null when nothing was kept or sent. */
  _publish(frame) {
    if (!frame.persist) return this._send(frame) ? frame.id : null;
    if (this.#pending.size >= this.#maxPending) return null;
    this.#pending.set(frame.id, frame);
    this._send(frame);
    return frame.id;
  }

  #open() {
    const socket = new WebSocket(this.#url);
    this.#socket = socket;
    socket.onopen = () => this.#opened();
    socket.onmessage = (message) => this.#received(message.data);
    socket.onclose = () => this.#lost();
  }

  #opened() {
    this.#heardAt = performance.now();
    this.#pingTimer = setInterval(() => this.#ping(), PING_EVERY_MS);
    for (const channel of this.#channels.values()) channel._restore();
    for (const frame of this.#pending.values()) this._send(frame);
    this.#setStatus("connected");
  }

  #received(text) {
    this.#heardAt = performance.now();
    this.#attempts = 0; // the server speaks: only now is the connection worth a short first retry again
    let frame;
    try {
      frame = JSON.parse(text);
    } catch {
      return; // not ours to understand
    }
    if (frame === null || typeof frame !== "object") return;
    if (frame.type === "ack") this.#pending.delete(frame.id);
    if (frame.type === "error") this.#refused(frame);
    // Only frames that every client knows carry `topic`; the newer `resync` says `channel`.
    this.#channels.get(frame.topic ?? frame.channel)?._received(frame);
  }

  /** What was refused must not be sent again; the channel it was for is told. */
  #refused({ code, message, ref = {} }) {
    console.warn(`realtime: ${ref.type ?? "frame"} refused (${code}): ${message}`);
    const topic = ref.channel ?? this.#pending.get(ref.id)?.topic;
    this.#pending.delete(ref.id);
    this.#channels.get(topic)?._refused({ id: ref.id, type: ref.type, code, message });
  }

  #ping() {
    if (performance.now() - this.#heardAt > SILENCE_LIMIT_MS) {
      // A dead path can keep close() waiting for minutes, so the socket is let go first.
      this.#drop(4000, "silent");
      this.#lost();
    } else {
      this._send({ type: "ping" });
    }
  }

  #lost() {
    this.#drop();
    this.#setStatus("reconnecting");
    const full = Math.min(FIRST_RETRY_MS * 2 ** this.#attempts, LAST_RETRY_MS);
    this.#attempts += 1;
    // Between half and all of the delay: a thousand pages must not come back in the same instant.
    this.#retryTimer = setTimeout(() => this.#retry(), full * (0.5 + Math.random() / 2));
  }

  #retry() {
    this.#retryTimer = 0;
    this.#open();
  }

  /** The network or the user is back: waiting any longer has no use. */
  #retryNow() {
    if (!this.#retryTimer) return;
    clearTimeout(this.#retryTimer);
    this.#retry(); // leaves the timer at 0, so that a second call does nothing
  }

  #drop(code, reason) {
    clearInterval(this.#pingTimer);
    const socket = this.#socket;
    this.#socket = null;
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    if (code && socket.readyState <= WebSocket.OPEN) socket.close(code, reason);
  }

  #setStatus(status) {
    if (status === this.#status) return;
    this.#status = status;
    for (const handler of this.#statusHandlers) call(handler, status);
  }
}

/** One topic on the connection. Made by `Realtime.channel()`. */
class Channel {
  #realtime;
  #wanted = false;
  #ready = 0; // how often the server confirmed the subscription
  #state = null; // what this client tracks
  #events = new Map(); // event name or "*" -> Set of handlers
  #changes = new Set();
  #readies = new Set();
  #refusals = new Set();
  #members = new Map(); // user id -> state
  #memberHandlers = new Set();

  constructor(topic, realtime) {
    this.topic = topic;
    this.#realtime = realtime;
  }

  /** Receive what is published from now on. */
  subscribe() {
    if (this.#wanted) return;
    this.#wanted = true;
    this.#realtime._send({ type: "subscribe", topic: this.topic });
  }

  /** Receive nothing more. Handlers stay, for a later `subscribe()`. */
  unsubscribe() {
    if (!this.#wanted) return;
    this.#wanted = false;
    this.#state = null;
    this.#realtime._send({ type: "unsubscribe", topic: this.topic });
  }

  /**
   * Publish an event to everyone on the topic, this client included.
   * Returns the publication's id; null when it could not be sent (see the promises above).
   */
  publish(event, data, { persist = false, id = crypto.randomUUID() } = {}) {
    return this.#realtime._publish({ type: "publish", topic: this.topic, event, data, persist, id });
  }

  /** Be present on the topic with this state; call again to change it. */
  track(state) {
    this.#state = state;
    this.#realtime._send({ type: "track", topic: this.topic, state });
  }

  /** Stop being present. */
  untrack() {
    this.#state = null;
    this.#realtime._send({ type: "untrack", topic: this.topic });
  }

  /** Stored messages, oldest first: `[{ id, user_id, event, data, created_at }]`. Rejects when the server refuses. */
  async history({ limit = 50, before } = {}) {
    const query = new URLSearchParams({ room: this.topic, limit: String(limit) });
    if (before !== undefined) query.set("before", String(before));
    const response = await fetch(`/api/v1/public/realtime/history?${query}`);
    if (!response.ok) throw new Error(`history of ${this.topic}: HTTP ${response.status}`);
    return (await response.json()).messages.reverse();
  }

  /** Call `handler(frame)` for each event called `name` ("*" = any): `{ event, data, userId, timestamp }`. */
  onEvent(name, handler) {
    if (!this.#events.has(name)) this.#events.set(name, new Set());
    return listen(this.#events.get(name), handler);
  }

  /** Call `handler(frame)` for each committed row change: `{ operation, data, old, timestamp }`. */
  onChange(handler) {
    return listen(this.#changes, handler);
  }

  /** Call `handler([{ userId, state }])` with everyone present, now and at every change. */
  onMembers(handler) {
    handler(this.#everyone());
    return listen(this.#memberHandlers, handler);
  }

  /**
   * Call `handler({ again })` whenever the subscription is confirmed. `again` means after a reconnect, or because the
   * server had to leave changes out: what was missed has to be fetched.
   */
  onReady(handler) {
    return listen(this.#readies, handler);
  }

  /** Call `handler({ type, id, code, message })` when the server refuses a frame; `id` is that of a publish. */
  onRefused(handler) {
    return listen(this.#refusals, handler);
  }

  _restore() {
    if (this.#wanted) this.#realtime._send({ type: "subscribe", topic: this.topic });
    if (this.#state !== null) this.#realtime._send({ type: "track", topic: this.topic, state: this.#state });
  }

  _received(frame) {
    if (frame.type === "chat_message") frame = { ...frame, type: "event", event: "chat_message" };
    if (frame.type === "event") {
      this.#follow(frame);
      for (const name of [frame.event, "*"]) this.#events.get(name)?.forEach((handler) => call(handler, frame));
    } else if (frame.type === "db_change") {
      this.#changes.forEach((handler) => call(handler, frame));
    } else if (frame.type === "subscribed") {
      this.#members.clear(); // a full list follows if there is anybody
      this.#tellReady();
      this.#tellMembers();
    } else if (frame.type === "resync") {
      this.#tellReady();
    }
  }

  /** Presence arrives as events: the whole list to a new subscriber, then one event a change. */
  #follow({ event, data }) {
    if (event === "presence:sync") {
      this.#members = new Map(data.users.map(({ userId, state }) => [userId, state]));
    } else if (event === "presence:join" || event === "presence:update") {
      this.#members.set(data.userId, data.state);
    } else if (event === "presence:leave") {
      this.#members.delete(data.userId);
    } else {
      return;
    }
    this.#tellMembers();
  }

  #everyone() {
    return [...this.#members].map(([userId, state]) => ({ userId, state: state ?? {} }));
  }

  #tellMembers() {
    this.#memberHandlers.forEach((handler) => call(handler, this.#everyone()));
  }

  #tellReady() {
    const again = this.#ready++ > 0;
    this.#readies.forEach((handler) => call(handler, { again }));
  }

  _refused(frame) {
    this.#refusals.forEach((handler) => call(handler, frame));
  }
}

function listen(handlers, handler) {
  handlers.add(handler);
  return () => handlers.delete(handler);
}

function call(handler, value) {
  try {
    handler(value);
  } catch (error) {
    console.error(error);
  }
}
