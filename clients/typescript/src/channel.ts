/**
 * Channels: what user code holds (`Channel`), and the one subscription that all channels of a topic share (`Topic`).
 *
 * Every `realtime.channel("orders")` gives a channel of its own. The topic is subscribed while at least one of them is, so
 * one component that goes away does not silence the others.
 */

import { RealtimeError } from "./errors.js";
import { Listeners } from "./listeners.js";
import { Presence } from "./presence.js";
import { Recovery, type Verdict } from "./recovery.js";
import type {
  Ack,
  Gap,
  HistoryMessage,
  RealtimeCallback,
  RealtimePayload,
  Recovered,
  ServerFrame,
  Stop,
} from "./types.js";

/** What a topic needs of the client. */
export interface Wire {
  /** Whether the server speaks flarelet-v1 on the present connection. */
  readonly isV1: boolean;
  send(frame: object): boolean;
  publish(topic: string, event: string, data: unknown, options: PublishOptions): Promise<Ack>;
  history(topic: string, limit: number, before?: number): Promise<HistoryMessage[]>;
  failed(error: RealtimeError): void;
  forget(topic: Topic): void;
}

export interface PublishOptions {
  /** Store it before it is acknowledged; it can be read with `getHistory` and is recovered after a reconnect. */
  persist?: boolean;
  /** Its id, by which a repetition is recognised; made up when absent. */
  id?: string;
}

/** How a topic is subscribed. The first channel that subscribes decides for all channels of the topic. */
export interface ChannelOptions {
  /** Of a table: only rows that match, `{status: "open", total: {gt: 100}}`; see the server's reference. */
  filter?: Record<string, unknown>;
  /** Of a table: only these columns, beside the key. */
  columns?: string[];
  /** Of a table: its rows first, told to `onSnapshot`; again after a gap. */
  snapshot?: boolean;
  /** Only these events. */
  event?: string | string[];
  /** Who is present ("full"), how many ("occupancy"), or nothing ("none"). */
  presence?: "full" | "occupancy" | "none";
  /** false: do not ask for missed events after a reconnect (default true). */
  recover?: boolean;
}

export class Topic {
  readonly presence = new Presence();
  readonly channels = new Set<Channel<any>>();
  readonly subscribers = new Set<Channel<any>>();
  #trackers = new Map<Channel<any>, Record<string, unknown>>();
  #recovery: Recovery;
  #rows: any[] | undefined; // parts of a snapshot
  #confirmations = 0;
  #isWanted = false; // the server is, or will be, asked for it
  isReady = false;

  constructor(
    readonly name: string,
    private readonly wire: Wire,
    private readonly options: ChannelOptions,
  ) {
    this.#recovery = new Recovery(name, (verdict) => this.#tell(verdict));
  }

  enter(channel: Channel<any>): void {
    this.channels.add(channel);
    this.subscribers.add(channel);
    if (this.#isWanted) {
      // its rows are wanted by one more: they come again, for all
      if (this.options.snapshot && this.isReady) this.#subscribe(true);
      return;
    }
    this.#isWanted = true;
    this.#subscribe();
  }

  leave(channel: Channel<any>): void {
    this.channels.delete(channel);
    if (this.#trackers.delete(channel)) this.#showState(true);
    // A moment later: a view that is replaced by the next one leaves and enters in one go.
    if (this.subscribers.delete(channel) && !this.subscribers.size) queueMicrotask(() => this.#leaveIfAlone());
    this.forgetIfUnused();
  }

  track(channel: Channel<any>, state: Record<string, unknown>): void {
    this.channels.add(channel);
    this.#trackers.delete(channel);
    this.#trackers.set(channel, state);
    this.#showState(false);
  }

  untrack(channel: Channel<any>): void {
    if (this.#trackers.delete(channel)) this.#showState(true);
    this.forgetIfUnused();
  }

  /** The connection is open (again). */
  restore(): void {
    if (this.#isWanted) this.#subscribe();
    this.#showState(false);
  }

  lost(): void {
    this.isReady = false;
  }

  /** A frame about this topic. */
  received(frame: ServerFrame): void {
    if (!this.subscribers.size) return;
    switch (frame.type) {
      case "subscribed":
        return this.#subscribed(frame);
      case "recovered":
      case "gap":
        return this.#recovery.judge(frame);
      case "resync":
        return this.#tell({ gap: { topic: this.name, reason: "resync", message: "the server left changes out" } });
      case "snapshot":
        return this.#part(frame);
      case "presence":
        return this.#present(frame);
      case "transaction": // the end of one whose last change is not told here: a position, and nothing else
        this.#recovery.accept(frame as RealtimePayload);
        return this.#recovery.settle();
      case "event":
      case "db_change":
      case "chat_message":
        if (!this.wire.isV1) this.presence._followEvent(frame as RealtimePayload);
        if (this.#recovery.accept(frame as RealtimePayload)) this.#emit(frame as RealtimePayload);
        return this.#recovery.settle();
    }
  }

  error(error: RealtimeError): boolean {
    let heard = false;
    this.each((channel) => (heard = channel._error(error) || heard));
    return heard;
  }

  each(act: (channel: Channel<any>) => void): void {
    for (const channel of [...this.channels]) act(channel);
  }

  forgetIfUnused(): void {
    if (!this.channels.size && !this.#trackers.size && !this.#isWanted) this.wire.forget(this);
  }

  #subscribed(frame: ServerFrame): void {
    this.isReady = true;
    const again = this.#confirmations++ > 0;
    if (!this.wire.isV1) this.presence._clear();
    this.#recovery.begin(frame);
    this.each((channel) => channel._ready());
    if (!again || this.wire.isV1) return;
    this.#tell({ gap: { topic: this.name, reason: "server", message: "the server does not tell what was missed" } });
  }

  #part({ rows, last }: ServerFrame): void {
    this.#rows = [...(this.#rows ?? []), ...rows];
    if (!last) return;
    const all = this.#rows;
    this.#rows = undefined;
    this.each((channel) => channel._snapshot(all));
  }

  #present(frame: ServerFrame): void {
    const told = this.presence._follow(frame);
    if (!told) this.wire.send({ type: "presence", topic: this.name });
    for (const { event, data } of told ?? []) {
      this.#emit({ type: "event", topic: this.name, event, data, userId: data.userId });
    }
  }

  #emit(payload: RealtimePayload): void {
    this.each((channel) => channel._emit(payload));
  }

  #leaveIfAlone(): void {
    if (this.subscribers.size || !this.#isWanted) return;
    this.#isWanted = this.isReady = false;
    this.#confirmations = 0;
    this.wire.send({ type: "unsubscribe", topic: this.name });
    this.#showState(false); // for the server, presence ended with the subscription
    this.presence._clear();
    this.#recovery.forget();
    this.forgetIfUnused();
  }

  #subscribe(anew = false): void {
    const { filter, columns, snapshot, event, presence, recover } = this.options;
    if (anew || recover === false) this.#recovery.forget();
    const { since } = this.#recovery;
    const more = this.wire.isV1 ? { columns, event, presence, since, snapshot: (!since && snapshot) || undefined } : {};
    this.#rows = undefined;
    this.wire.send({ type: "subscribe", topic: this.name, filter, ...more });
  }

  /** Tell the server what is tracked: the state of the channel that tracked last. */
  #showState(wasTracking: boolean): void {
    const state = [...this.#trackers.values()].pop();
    if (state) this.wire.send({ type: "track", topic: this.name, state });
    else if (wasTracking) this.wire.send({ type: "untrack", topic: this.name });
  }

  #tell(verdict: Verdict): void {
    if (!("gap" in verdict)) return this.each((channel) => channel._recovered(verdict.recovered));
    this.each((channel) => channel._gap(verdict.gap));
    if (this.options.snapshot && this.wire.isV1 && this.isReady) this.#subscribe(true);
  }
}

/** One user's view of a topic. Made by `realtime.channel()`. */
export class Channel<T = any> {
  #callbacks = new Map<string, Listeners<RealtimePayload<T>>>();
  #ready = new Listeners<{ again: boolean }>();
  #recoveries = new Listeners<Recovered>();
  #gaps = new Listeners<Gap>();
  #snapshots = new Listeners<T[]>();
  #errors = new Listeners<RealtimeError>();
  #readies = 0;
  #isSubscribed = false;

  /** @internal */
  constructor(
    private readonly topicOf: () => Topic,
    /** The topic's full name, e.g. `table/orders/demo`. */
    readonly topic: string,
    private readonly wire: Wire,
  ) {}

  /** Everybody present, as a live map: `channel.presence.members`. */
  get presence(): Presence {
    return this.topicOf().presence;
  }

  /** Whether the server has confirmed the subscription on the present connection. */
  get isReady(): boolean {
    return this.#isSubscribed && this.topicOf().isReady;
  }

  /** Call `callback` for a row change (INSERT, UPDATE, DELETE), an event by its name, or everything (`*`). */
  on<D = T>(event: string, callback: RealtimeCallback<D>): this {
    let listeners = this.#callbacks.get(event);
    if (!listeners) this.#callbacks.set(event, (listeners = new Listeners()));
    listeners.add(callback as RealtimeCallback<any>);
    this.topicOf().channels.add(this);
    return this;
  }

  /** Remove a callback. */
  off(event: string, callback: RealtimeCallback<any>): this {
    this.#callbacks.get(event)?.delete(callback);
    return this;
  }

  /** Receive the topic from now on; connects if that has not happened yet. */
  subscribe(): this {
    if (this.#isSubscribed) return this;
    this.#isSubscribed = true;
    const topic = this.topicOf();
    topic.enter(this);
    if (topic.isReady) queueMicrotask(() => this.#isSubscribed && topic.isReady && !this.#readies && this._ready());
    return this;
  }

  /** Receive nothing more and be no longer present; callbacks are removed. Other channels of the topic go on. */
  unsubscribe(): void {
    this.#callbacks.clear();
    for (const listeners of [this.#ready, this.#recoveries, this.#gaps, this.#snapshots, this.#errors]) {
      listeners.clear();
    }
    this.#isSubscribed = false;
    this.#readies = 0;
    this.topicOf().leave(this);
  }

  /**
   * Send an event to all subscribers, this client included. Resolves with the server's ack; rejects with a
   * `RealtimeError` when it is refused, cannot be kept, or gets no ack in time (also told to `onError`).
   */
  publish(event: string, data?: unknown, options: PublishOptions = {}): Promise<Ack> {
    return this.wire.publish(this.topic, event, data, options);
  }

  /** Stored messages, newest first; `before` is the `created_at` of the oldest one known. Rejects when refused. */
  getHistory(limit = 50, before?: number): Promise<HistoryMessage<T>[]> {
    return this.wire.history(this.topic, limit, before);
  }

  /** Be present with this state, also after a reconnect; call again to change it. */
  track(state: Record<string, unknown>): void {
    this.topicOf().track(this, state);
  }

  /** Be no longer present. */
  untrack(): void {
    this.topicOf().untrack(this);
  }

  /** The subscription was confirmed; `again` on a new connection. */
  onReady(callback: (ready: { again: boolean }) => void): Stop {
    return this.#ready.add(callback);
  }

  /** Ask for a token stream of this topic to end; its producer is told. */
  cancel(stream: string, reason?: string): void {
    this.wire.send({ type: "cancel", topic: this.topic, stream, reason });
  }

  /** The rows of the table, of a channel with the option `snapshot`: changes after them come to the handlers. */
  onSnapshot(callback: (rows: T[]) => void): Stop {
    return this.#snapshots.add(callback);
  }

  /** After a reconnect nothing is missing: `count` missed messages were handed to the handlers. */
  onRecovered(callback: (recovered: Recovered) => void): Stop {
    return this.#recoveries.add(callback);
  }

  /** Something may be missing: read again what is shown. */
  onGap(callback: (gap: Gap) => void): Stop {
    return this.#gaps.add(callback);
  }

  /** The server refused something on this topic, or a publish got no ack. */
  onError(callback: (error: RealtimeError) => void): Stop {
    this.topicOf().channels.add(this);
    return this.#errors.add(callback);
  }

  /** @internal */
  _emit(payload: RealtimePayload): void {
    const names = new Set([payload.operation ?? payload.event ?? payload.type, "*"]);
    for (const name of names) this.#callbacks.get(name)?.tell(payload);
  }

  /** @internal */
  _ready(): void {
    if (this.#isSubscribed) this.#ready.tell({ again: this.#readies++ > 0 });
  }

  /** @internal */
  _recovered(recovered: Recovered): void {
    this.#recoveries.tell(recovered);
  }

  /** @internal */
  _snapshot(rows: T[]): void {
    this.#snapshots.tell(rows);
  }

  /** @internal */
  _gap(gap: Gap): void {
    this.#gaps.tell(gap);
  }

  /** @internal */
  _error(error: RealtimeError): boolean {
    this.#errors.tell(error);
    return this.#errors.size > 0;
  }
}
