/** The realtime client: one connection, many topics. */

import { Channel, type ChannelOptions, type PublishOptions, Topic, type Wire } from "./channel.js";
import { Connection, type SocketClass } from "./connection.js";
import { clientError, type ErrorReference, RealtimeError } from "./errors.js";
import { Listeners } from "./listeners.js";
import { Outbox } from "./outbox.js";
import { fullTopic } from "./topics.js";
import type { Ack, HistoryMessage, RealtimeStatus, ServerFrame, Stop } from "./types.js";

const V1 = "flarelet-v1";
const HISTORY_WITHIN_MS = 10_000;
const NOT_A_TOKEN = /[^!#$%&'*+\-.^_`|~0-9A-Za-z]/; // RFC 7230: what a subprotocol may hold

export interface RealtimeClientOptions {
  /** The project; its name ends every topic. */
  projectId?: string;
  /** The server, with or without `/v1`. In a browser the page's own origin is the default. */
  baseUrl?: string;
  apiKey?: string;
  token?: string;
  /** Who this client is to others: `userId` of its events and of its presence. */
  userId?: string;
  /** Attempts to reconnect before giving up (default: without end). */
  maxReconnectAttempts?: number;
  /** Publishes that may wait for a connection or an ack (default 100). */
  maxQueue?: number;
  /** How long a publish waits for its ack, in ms (default 15,000). */
  ackTimeoutMs?: number;
  /** The WebSocket class, where there is no global one (Node 20: that of `ws`). */
  WebSocket?: SocketClass | unknown;
  /** Replaces `fetch`, for the history. */
  fetch?: typeof fetch;
  /** Replaces `Math.random`, for the jitter. */
  random?: () => number;
}

export class RealtimeClient {
  #options: RealtimeClientOptions;
  #token: string | undefined;
  #connection: Connection;
  #outbox: Outbox;
  #topics = new Map<string, Topic>();
  #chats: string[] = [];
  #errors = new Listeners<RealtimeError>();
  #maxRetries = new Listeners<void>();
  #wire: Wire;
  #isV1 = false;

  constructor(options: RealtimeClientOptions = {}) {
    this.#options = options;
    this.#token = options.token;
    for (const name of ["apiKey", "token"] as const) checkCredential(name, options[name]);
    this.#connection = new Connection({
      address: () => this.#address(),
      Socket: options.WebSocket as SocketClass | undefined,
      maxAttempts: options.maxReconnectAttempts ?? Infinity,
      random: options.random ?? Math.random,
      opened: (protocol) => this.#opened(protocol),
      received: (frame) => this.#received(frame),
      failed: (error) => this.#tell(error),
      gaveUp: () => this.#gaveUp(),
    });
    this.#connection.statusListeners.add((status) => {
      if (status !== "connected") for (const topic of this.#topics.values()) topic.lost();
    });
    this.#outbox = new Outbox(
      (text) => this.#connection.send(text),
      options.maxQueue ?? 100,
      options.ackTimeoutMs ?? 15_000,
      (error) => this.#tell(error),
    );
    const isV1 = () => this.#isV1;
    this.#wire = {
      get isV1() {
        return isV1();
      },
      send: (frame) => this.#send(frame),
      publish: (topic, event, data, more) => this.#publish(topic, event, data, more),
      history: (topic, limit, before) => this.#history(topic, limit, before),
      failed: (error) => this.#tell(error),
      forget: (topic) => this.#topics.get(topic.name) === topic && this.#topics.delete(topic.name),
    };
  }

  get projectId(): string {
    return this.#options.projectId ?? "";
  }

  get userId(): string | undefined {
    return this.#options.userId;
  }

  /** The server's address without `/v1`. */
  get baseUrl(): string {
    const given = this.#options.baseUrl ?? (typeof location === "undefined" ? undefined : location.origin);
    if (!given) throw clientError("BAD_OPTION", "baseUrl is missing: give the server's address, like http://localhost:8787");
    return given.replace(/\/+$/, "").replace(/\/v1$/, "");
  }

  get status(): RealtimeStatus {
    return this.#connection.status;
  }

  /** Connect now. The first subscribe, track or publish does it too. Rejects if the first attempt fails; retries go on. */
  connect(): Promise<void> {
    return this.#connection.connect();
  }

  /** Close the connection until `connect()`; waiting publishes are rejected. Subscriptions come back with it. */
  disconnect(): void {
    this.#connection.close();
    this.#chats = [];
    this.#outbox.close("disconnected before there was an ack");
  }

  /** A channel of a topic. A name without a slash is a table. */
  channel<T = any>(topic: string, options: ChannelOptions = {}): Channel<T> {
    const name = fullTopic(topic, this.projectId);
    return new Channel<T>(() => this.#topic(name, options), name, this.#wire);
  }

  /** The channel of a chat room. */
  chatRoom<T = any>(roomId: string): Channel<T> {
    return this.channel<T>(`chat/${roomId}`);
  }

  /**
   * Say something in a chat room; it is stored, and arrives as `chat_message`. The frame has no id, so there is no ack:
   * where one matters, use `chatRoom(id).publish("message", { text }, { persist: true })`.
   */
  sendChat(roomId: string, text: string, metadata?: Record<string, unknown>): void {
    const frame = JSON.stringify({ type: "chat", roomId, text, metadata });
    this.#autoConnect();
    if (this.#connection.send(frame)) return;
    if (this.#chats.length < (this.#options.maxQueue ?? 100)) this.#chats.push(frame);
    else this.#tell(clientError("QUEUE_FULL", "too many chat messages wait for a connection", true, { type: "chat" }));
  }

  /** Use another token, now and for later connections. */
  setToken(token: string): void {
    checkCredential("token", token);
    this.#token = token;
    this.#connection.send(JSON.stringify({ type: "auth", token }));
  }

  /** Call `callback(status)` at every change. Returns a function that stops it. */
  onStatusChange(callback: (status: RealtimeStatus) => void): Stop {
    return this.#connection.statusListeners.add(callback);
  }

  /** Call `callback()` when reconnecting was given up. */
  onMaxRetriesExceeded(callback: () => void): Stop {
    return this.#maxRetries.add(callback);
  }

  /** Call `callback(error)` for everything that went wrong. Without any listener, errors go to the console. */
  onError(callback: (error: RealtimeError) => void): Stop {
    return this.#errors.add(callback);
  }

  #topic(name: string, options: ChannelOptions): Topic {
    let topic = this.#topics.get(name);
    if (!topic) this.#topics.set(name, (topic = new Topic(name, this.#wire, options)));
    return topic;
  }

  #address(): { url: string; protocols: string[] } {
    const { apiKey, userId } = this.#options;
    const url = new URL(`${this.baseUrl.replace(/^http/, "ws")}/api/realtime`);
    url.searchParams.set("projectId", this.projectId);
    if (userId) url.searchParams.set("userId", userId);
    const protocols = [];
    if (apiKey) protocols.push(`aerostack-key.${apiKey}`);
    if (this.#token) protocols.push(`aerostack-token.${this.#token}`);
    protocols.push("aerostack-v1", V1);
    return { url: url.href, protocols };
  }

  /** Frames are state (restored at every connection) or go through the outbox: what cannot be sent now is not kept. */
  #send(frame: object): boolean {
    this.#autoConnect();
    return this.#connection.send(JSON.stringify(frame));
  }

  #publish(topic: string, event: string, data: unknown, { persist, id }: PublishOptions): Promise<Ack> {
    this.#autoConnect();
    if (this.status === "disconnected") {
      const ref = { type: "publish", channel: topic };
      const error = clientError("DISCONNECTED", "the client is disconnected: call connect() first", true, ref);
      const refused = Promise.reject(error);
      refused.catch(() => {}); // told as an event too
      this.#tell(error);
      return refused;
    }
    return this.#outbox.add({ type: "publish", topic, event, data, persist, id: id ?? newId() });
  }

  #autoConnect(): void {
    if (this.status === "idle") this.connect().catch(() => {}); // told as an error event
  }

  #opened(protocol: string): void {
    this.#isV1 = protocol === V1;
    for (const topic of this.#topics.values()) topic.restore();
    const chats = this.#chats;
    this.#chats = [];
    for (const text of chats) this.#connection.send(text);
    this.#outbox.flush();
  }

  #gaveUp(): void {
    this.#outbox.close("reconnecting was given up");
    this.#maxRetries.tell();
  }

  #received(frame: ServerFrame): void {
    switch (frame.type) {
      case "ack":
        return this.#outbox.acknowledged(frame as unknown as Ack);
      case "error":
        return this.#refused(frame);
    }
    const topic = frame.topic ?? frame.channel;
    if (typeof topic === "string") this.#topics.get(topic)?.received(frame);
  }

  #refused({ code, name, message, retry, ref }: ServerFrame): void {
    const reference: ErrorReference = { ...ref };
    const error = new RealtimeError(code, name, message, retry, reference);
    if (reference.id !== undefined) reference.channel = this.#outbox.refused(reference.id, error) ?? reference.channel;
    this.#tell(error);
  }

  #tell(error: RealtimeError): void {
    const topic = error.ref.channel === undefined ? undefined : this.#topics.get(error.ref.channel);
    const heard = topic?.error(error) || this.#errors.size > 0;
    this.#errors.tell(error);
    if (!heard) console.warn(`realtime: ${error.name} (${error.code}): ${error.message}`);
  }

  async #history(topic: string, limit: number, before?: number): Promise<HistoryMessage[]> {
    const { apiKey, userId } = this.#options;
    const query = new URLSearchParams({ room: topic, limit: String(limit) });
    if (before !== undefined) query.set("before", String(before));
    if (this.projectId) query.set("projectId", this.projectId);
    if (userId) query.set("userId", userId);
    const headers: Record<string, string> = {};
    if (apiKey) headers["X-Aerostack-Key"] = apiKey;
    if (this.#token) headers["Authorization"] = `Bearer ${this.#token}`;
    const url = `${this.baseUrl}/api/v1/public/realtime/history?${query}`;
    const request = this.#options.fetch ?? globalThis.fetch;
    let body: any;
    let status: number;
    try {
      const response = await request(url, { headers, signal: AbortSignal.timeout(HISTORY_WITHIN_MS) });
      status = response.status;
      body = await response.json();
      if (response.ok && Array.isArray(body?.messages)) return body.messages;
    } catch (error) {
      throw clientError("HTTP", `history of ${topic}: ${error}`, true, { type: "history", channel: topic });
    }
    const message = `history of ${topic}: ${body?.message ?? `HTTP ${status}`}`;
    const ref = { type: "history", channel: topic };
    if (typeof body?.number === "number") throw new RealtimeError(body.number, body.code, message, status >= 500, ref);
    throw clientError("HTTP", message, status >= 500, ref);
  }
}

function checkCredential(name: string, value: string | undefined): void {
  if (value && NOT_A_TOKEN.test(value)) {
    throw clientError("BAD_OPTION", `${name} has a character that cannot be sent; allowed: letters, digits, . - _ ~ +`);
  }
}

/** An id nobody else makes. `crypto.randomUUID` is missing on pages served without TLS. */
function newId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
