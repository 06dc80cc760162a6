/**
 * Where a topic stands: the position of the last event that was handed on, and what the server says of those in between.
 *
 * A subscription that comes back sends its position. The server answers with a verdict, `recovered` or `gap`, and with the
 * events that were missed, as ordinary frames in order; the verdict is told once they are handed on. What arrives twice is
 * handed on once.
 */

import type { Gap, Position, RealtimePayload, Recovered, ServerFrame } from "./types.js";

export type Verdict = { recovered: Recovered } | { gap: Gap };

const REASONS: Record<string, string> = {
  ahead: "the position is not one of the server's",
  dropped: "too much was missed to be kept",
  epoch: "the server numbers anew",
  expired: "older events are no longer kept",
  not_stored: "what was said before a restart was not stored",
  reset: "the topic was reset",
  resync: "changes came that cannot be told row by row",
  unwatched: "nobody followed the table",
};

export class Recovery {
  #at: Position | undefined;
  #missed = 0; // frames that belong to the verdict and are still to come
  #verdict: Verdict | undefined;
  #end: Position | undefined; // of what the verdict is about

  constructor(
    private readonly topic: string,
    private readonly tell: (verdict: Verdict) => void,
  ) {}

  /** What to continue after. */
  get since(): Position | undefined {
    return this.#at;
  }

  /** A subscription begins here, or stands here. */
  begin({ epoch, offset }: ServerFrame): void {
    if (epoch !== undefined && this.#at === undefined) this.#at = { epoch, offset };
  }

  /** Forget the position: what is shown is read anew. */
  forget(): void {
    this.#at = this.#verdict = undefined;
    this.#missed = 0;
  }

  /** A frame with a position: whether it is new. */
  accept(payload: RealtimePayload): boolean {
    const { epoch, offset } = payload;
    const isMissed = this.#missed > 0;
    let isNew = true;
    if (epoch !== undefined && offset !== undefined) {
      isNew = this.#at?.epoch !== epoch || offset > this.#at.offset;
      if (isNew) this.#at = { epoch, offset };
    }
    if (isMissed) {
      payload.recovered = true;
      this.#missed--;
    }
    return isNew;
  }

  /** After a frame was handed on: the verdict, if it was the last of those that were missed. */
  settle(): void {
    if (this.#missed || !this.#verdict) return;
    const verdict = this.#verdict;
    this.#verdict = undefined;
    const end = this.#end;
    // what lies before the end was told, or is hidden from this subscription
    if (end && (this.#at === undefined || (this.#at.epoch === end.epoch && this.#at.offset < end.offset))) this.#at = end;
    this.tell(verdict);
  }

  /** The server's verdict. */
  judge(frame: ServerFrame): void {
    const { type, count = 0, from, to, reason, epoch, offset } = frame;
    const topic = this.topic;
    const verdict: Verdict =
      type === "recovered"
        ? { recovered: { topic, count } }
        : { gap: { topic, reason, message: REASONS[reason] ?? "events may be missing", from, to } };
    if (this.#missed) {
      this.#missed--; // one more thing that happened meanwhile, in its place among what was missed
      this.tell(verdict);
      return this.settle();
    }
    this.#verdict = verdict;
    if (type === "gap" && this.#at?.epoch !== to?.epoch) this.#at = undefined;
    this.#end = type === "recovered" ? { epoch, offset } : (to ?? undefined);
    this.#missed = count;
    this.settle();
  }
}
