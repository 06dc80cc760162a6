/**
 * Channels: what user code holds (`Channel`), and the one subscription that all channels of a topic share (`Topic`).
 *
 * Every `realtime.channel("orders")` gives a channel of its own. The topic is subscribed while at least one of them is, so
 * one component that goes away does not silence the others.
 */

import { RealtimeError } from "./errors.js";
import { Listeners } from "./listeners.js";
import { Presence } from "./presence.js";
import { Recovery } from "./recovery.js";
import type { Ack, Gap, HistoryMessage, RealtimeCallback, RealtimePayload, Recovered, Stop } from "./types.js";

/** What a topic needs of the client. */
export interface Wire {
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

export interface ChannelOptions {
  /** Sent with the subscription. */
  filter?: Record<string, unknown>;
  /** false: do not read missed messages after a reconnect (default true). */
  recover?: boolean;
}

export class Topic {
  readonly presence = new Presence();
  readonly channels = new Set<Channel<any>>();
  readonly subscribers = new Set<Channel<any>>();
  #trackers = new Map<Channel<any>, Record<string, unknown>>();
  #recovery: Recovery;
  #confirmations = 0;
  #isWanted = false; // the server is, or will be, asked for it
  isReady = false;

  constructor(
    readonly name: string,
    private readonly wire: Wire,
    private readonly options: ChannelOptions,
  ) {
    this.#recovery = this.#newRecovery();
  }

  enter(channel: Channel<any>): void {
    this.channels.add(channel);
    this.subscribers.add(channel);
    if (this.#isWanted) return;
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

  subscribed(): void {
    if (!this.subscribers.size) return;
    const recovery = this.#recovery;
    this.isReady = true;
    this.presence._expectSync();
    this.each((channel) => channel._ready());
    if (this.#confirmations++) void recovery.again().then((verdict) => this.#tell(recovery, verdict));
    else void recovery.first();
  }

  received(payload: RealtimePayload): void {
    if (!this.subscribers.size) return;
    this.presence._follow(payload);
    this.#recovery.accept(payload);
  }

  resync(): void {
    this.#gap({ topic: this.name, reason: "resync", message: "the server left changes out" });
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

  #leaveIfAlone(): void {
    if (this.subscribers.size || !this.#isWanted) return;
    this.#isWanted = this.isReady = false;
    this.#confirmations = 0;
    this.wire.send({ type: "unsubscribe", topic: this.name });
    this.#showState(false); // for the server, presence ended with the subscription
    this.presence._clear();
    this.#recovery = this.#newRecovery(); // what is read for the old one reaches nobody
    this.forgetIfUnused();
  }

  #subscribe(): void {
    const { filter } = this.options;
    this.wire.send({ type: "subscribe", topic: this.name, ...(filter && { filter }) });
  }

  /** Tell the server what is tracked: the state of the channel that tracked last. */
  #showState(wasTracking: boolean): void {
    const state = [...this.#trackers.values()].pop();
    if (state) this.wire.send({ type: "track", topic: this.name, state });
    else if (wasTracking) this.wire.send({ type: "untrack", topic: this.name });
  }

  #newRecovery(): Recovery {
    const recovery: Recovery = new Recovery(
      this.name,
      (limit, before) => this.wire.history(this.name, limit, before),
      (payload) => this.#recovery === recovery && this.each((channel) => channel._emit(payload)),
      this.options.recover !== false,
    );
    return recovery;
  }

  #tell(recovery: Recovery, verdict: { recovered: Recovered } | { gap: Gap } | undefined): void {
    if (!verdict || recovery !== this.#recovery) return;
    if ("gap" in verdict) this.#gap(verdict.gap);
    else this.each((channel) => channel._recovered(verdict.recovered));
  }

  #gap(gap: Gap): void {
    this.each((channel) => channel._gap(gap));
  }
}

/** One user's view of a topic. Made by `realtime.channel()`. */
export class Channel<T = any> {
  #callbacks = new Map<string, Listeners<RealtimePayload<T>>>();
  #ready = new Listeners<{ again: boolean }>();
  #recoveries = new Listeners<Recovered>();
  #gaps = new Listeners<Gap>();
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
    for (const listeners of [this.#ready, this.#recoveries, this.#gaps, this.#errors]) listeners.clear();
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
  _gap(gap: Gap): void {
    this.#gaps.tell(gap);
  }

  /** @internal */
  _error(error: RealtimeError): boolean {
    this.#errors.tell(error);
    return this.#errors.size > 0;
  }
}
