/** Who is present on one topic, kept from `presence:*` events. */

import { Listeners } from "./listeners.js";
import type { Member, RealtimePayload, Stop } from "./types.js";

/** After a new `subscribed` the server sends the whole list only if there is one; then the old list is dropped. */
const STALE_MS = 1_000;

/** A live map of members by user id. `members` is replaced, never changed, so it can be compared by identity. */
export class Presence {
  #members: ReadonlyMap<string, Member> = new Map();
  #listeners = new Listeners<ReadonlyMap<string, Member>>();
  #staleTimer: ReturnType<typeof setTimeout> | undefined;

  get members(): ReadonlyMap<string, Member> {
    return this.#members;
  }

  /** Call `callback(members)` at every change. */
  onChange(callback: (members: ReadonlyMap<string, Member>) => void): Stop {
    return this.#listeners.add(callback);
  }

  /** @internal The subscription was confirmed: what is known is of an earlier connection. */
  _expectSync(): void {
    if (!this.#members.size) return;
    clearTimeout(this.#staleTimer);
    this.#staleTimer = setTimeout(() => this._clear(), STALE_MS);
  }

  /** @internal Follow one event; other events are ignored. */
  _follow({ event, data }: RealtimePayload): void {
    if (!event?.startsWith("presence:")) return;
    let next = new Map(this.#staleTimer === undefined ? this.#members : undefined);
    if (event === "presence:sync") {
      const users: Member[] = data?.users ?? [];
      next = new Map(users.map(({ userId, state }) => [userId, { userId, state: state ?? {} }]));
    } else if (event === "presence:join" || event === "presence:update") {
      next.set(data.userId, { userId: data.userId, state: data.state ?? {} });
    } else if (event === "presence:leave") {
      next.delete(data.userId);
    } else {
      return;
    }
    this.#become(next);
  }

  /** @internal Forget everybody. */
  _clear(): void {
    if (this.#members.size || this.#staleTimer !== undefined) this.#become(new Map());
  }

  #become(members: ReadonlyMap<string, Member>): void {
    clearTimeout(this.#staleTimer);
    this.#staleTimer = undefined;
    this.#members = members;
    this.#listeners.tell(members);
  }
}
