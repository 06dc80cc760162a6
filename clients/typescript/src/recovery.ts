/**
 * What a topic missed while the connection was away, read from the history endpoint.
 *
 * All that the rest of the client knows of positions is in here: `first` when a subscription is confirmed for the first
 * time, `again` after a reconnect, `accept` for each live frame. A server that takes explicit positions can replace it.
 *
 * Rules: the position is the newest persisted message known, by `created_at` and id; the server makes `created_at`
 * unique and growing within a topic. While missed messages are read, live frames wait, so that order is kept; a persisted
 * message is handed on once, however often it arrives.
 */

import { isTable } from "./topics.js";
import type { Gap, HistoryMessage, RealtimePayload, Recovered } from "./types.js";

const PAGE = 100;
const MOST = 1_000;
const REMEMBERED = 2_048;
const MOST_HELD = 5_000;

type Verdict = { recovered: Recovered } | { gap: Gap };
type ReadHistory = (limit: number, before?: number) => Promise<HistoryMessage[]>;

export class Recovery {
  #at: number | undefined; // created_at of the newest persisted message known; 0: there was none
  #id = "";
  #seen = new Set<string>();
  #held: RealtimePayload[] | undefined;
  #droppedHeld = false;
  #run = 0; // a newer connection makes an older run's answer worthless

  constructor(
    private readonly topic: string,
    private readonly read: ReadHistory,
    private readonly deliver: (payload: RealtimePayload) => void,
    private readonly enabled: boolean,
  ) {}

  /** A live frame: hand it on now, or after what was missed. */
  accept(payload: RealtimePayload): void {
    if (!this.#held) return this.#pass(payload);
    if (this.#held.length >= MOST_HELD) {
      this.#held.shift();
      this.#droppedHeld = true;
    }
    this.#held.push(payload);
  }

  /** The first subscription is confirmed: learn where the history stands. */
  async first(): Promise<void> {
    if (!this.#canRecover) return;
    const run = ++this.#run;
    try {
      const [newest] = await this.read(1);
      if (run === this.#run) this.#note(newest?.created_at ?? 0, newest?.id ?? "");
    } catch {
      // Not readable: a later reconnect will say so as a gap.
    }
  }

  /** The subscription is confirmed after a reconnect: read what was missed. Undefined when overtaken by the next one. */
  async again(): Promise<Verdict | undefined> {
    if (!this.#canRecover) {
      const table = isTable(this.topic);
      return this.#gap(table ? "table" : "disabled", table ? "row changes have no history" : "recovery is off");
    }
    const run = ++this.#run;
    this.#held ??= [];
    const since = this.#at;
    const sinceId = this.#id;
    let verdict: Verdict;
    try {
      const { missed, found } = await this.#missed(since, sinceId);
      if (run !== this.#run) return undefined;
      for (const message of missed.reverse()) this.#pass(this.#payload(message));
      verdict =
        since === undefined
          ? this.#gap("history", "the position before the connection was lost is not known")
          : found
            ? { recovered: { topic: this.topic, count: missed.length } }
            : this.#gap("expired", "older messages are no longer kept");
    } catch (error) {
      if (run !== this.#run) return undefined;
      verdict = this.#gap("history", error instanceof Error ? error.message : String(error));
    }
    const held = this.#held;
    this.#held = undefined;
    if (this.#droppedHeld) verdict = this.#gap("history", "more arrived than could wait while missed messages were read");
    this.#droppedHeld = false;
    for (const payload of held) this.#pass(payload);
    return verdict;
  }

  get #canRecover(): boolean {
    return this.enabled && !isTable(this.topic);
  }

  /** Messages after the position, newest first, and whether the position itself was found. */
  async #missed(since: number | undefined, id: string): Promise<{ missed: HistoryMessage[]; found: boolean }> {
    const missed: HistoryMessage[] = [];
    let before: number | undefined;
    while (missed.length < MOST) {
      const page = await this.read(since === undefined ? 1 : PAGE, before);
      if (since === undefined) {
        this.#note(page[0]?.created_at ?? 0, page[0]?.id ?? "");
        return { missed, found: false };
      }
      for (const message of page) {
        if (message.created_at <= since) return { missed, found: message.id === id };
        missed.push(message);
        before = message.created_at;
      }
      if (page.length < PAGE) return { missed, found: since === 0 };
    }
    return { missed, found: false };
  }

  #pass(payload: RealtimePayload): void {
    const id = payload.id;
    // Only what is stored has a place in the log; everything else passes as it comes.
    if (id !== undefined && (payload.recovered || payload.offset !== undefined)) {
      if (this.#seen.has(id)) return;
      this.#seen.add(id);
      if (this.#seen.size > REMEMBERED) this.#seen.delete(this.#seen.values().next().value as string);
      if (typeof payload.timestamp === "number") this.#note(payload.timestamp, id);
    }
    this.deliver(payload);
  }

  #note(at: number, id: string): void {
    if (this.#at !== undefined && at <= this.#at) return;
    this.#at = at;
    this.#id = id;
  }

  #payload({ id, event, data, user_id, created_at }: HistoryMessage): RealtimePayload {
    const isChat = event === "chat_message";
    return {
      ...(isChat ? { ...data, type: "chat_message" } : { type: "event", event }),
      topic: this.topic,
      data,
      ...(user_id === null ? {} : { userId: user_id }),
      timestamp: created_at,
      id,
      recovered: true,
    };
  }

  #gap(reason: Gap["reason"], message: string): Verdict {
    return { gap: { topic: this.topic, reason, message } };
  }
}
