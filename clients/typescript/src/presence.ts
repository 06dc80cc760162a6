/** Who is present on one topic: a list and the changes after it, each with a version. */

import { Listeners } from "./listeners.js";
import type { Member, Occupancy, RealtimePayload, ServerFrame, Stop } from "./types.js";

/** A live map of members by user id. `members` is replaced, never changed, so it can be compared by identity. */
export class Presence {
  #members: ReadonlyMap<string, Member> = new Map();
  #occupancy: Occupancy = { users: 0, connections: 0 };
  #listeners = new Listeners<ReadonlyMap<string, Member>>();
  #version: { epoch: string; version: number } | undefined;

  get members(): ReadonlyMap<string, Member> {
    return this.#members;
  }

  /** How many are present; known even when who they are is not asked for. */
  get occupancy(): Occupancy {
    return this.#occupancy;
  }

  /** Call `callback(members)` at every change. */
  onChange(callback: (members: ReadonlyMap<string, Member>) => void): Stop {
    return this.#listeners.add(callback);
  }

  /**
   * @internal Follow a frame; returns the events it stands for, by the names of the public protocol, or undefined when
   * frames before it are missing and the whole list must be asked for.
   */
  _follow({ kind, epoch, version, users, joins = [], updates = [], leaves = [], occupancy }: ServerFrame): Told[] | undefined {
    const known = this.#version;
    if (kind === "diff" && (known?.epoch !== epoch || known?.version !== version - 1)) {
      return known?.epoch === epoch && known!.version >= version ? [] : undefined;
    }
    if (kind === "snapshot" && known?.epoch === epoch && known!.version > version) return [];
    this.#version = { epoch, version };
    this.#occupancy = occupancy;
    if (kind === "snapshot") {
      const wasEmpty = !this.#members.size;
      this.#become(new Map(users.map((member: Member) => [member.userId, member])));
      return wasEmpty && !users.length ? [] : [{ event: "presence:sync", data: { users } }];
    }
    if (kind === "occupancy") {
      this.#listeners.tell(this.#members);
      return [];
    }
    const next = new Map(this.#members);
    for (const member of [...joins, ...updates]) next.set(member.userId, member);
    for (const userId of leaves) next.delete(userId);
    const gone = leaves.map((userId: string) => this.#members.get(userId) ?? { userId, state: {} });
    this.#become(next);
    const told = (event: string) => (member: Member) => ({ event, data: { ...member.state, ...member } });
    return [...joins.map(told("presence:join")), ...updates.map(told("presence:update")), ...gone.map(told("presence:leave"))];
  }

  /** @internal Follow an event of a server that speaks the public protocol only; other events are ignored. */
  _followEvent({ event, data }: RealtimePayload): void {
    if (!event?.startsWith("presence:")) return;
    let next = new Map(this.#members);
    if (event === "presence:sync") {
      next = new Map((data?.users ?? []).map((user: Member) => [user.userId, { ...user, state: user.state ?? {} }]));
    } else if (event === "presence:leave") next.delete(data.userId);
    else next.set(data.userId, { userId: data.userId, state: data.state ?? {} });
    this.#become(next);
  }

  /** @internal Forget everybody. */
  _clear(): void {
    this.#version = undefined;
    this.#occupancy = { users: 0, connections: 0 };
    if (this.#members.size) this.#become(new Map());
  }

  #become(members: ReadonlyMap<string, Member>): void {
    this.#members = members;
    this.#listeners.tell(members);
  }
}

type Told = { event: string; data: any };
