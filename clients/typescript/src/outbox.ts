/**
 * Publishes that have no ack yet, in order.
 *
 * A publish waits here while there is no connection and is sent again, under the same id, after a loss; the server does
 * the same id once. A persisted one waits as long as it takes and its timeout begins when it is sent; any other gives up
 * `timeoutMs` after the call, since a cursor or a "typing" sent late is wrong. Full means refused, never dropped silently.
 */

import { clientError, RealtimeError } from "./errors.js";
import type { Ack } from "./types.js";

interface Waiting {
  text: string;
  topic: string;
  persist: boolean;
  timer: ReturnType<typeof setTimeout> | undefined;
  resolve: (ack: Ack) => void;
  reject: (error: RealtimeError) => void;
}

export class Outbox {
  #waiting = new Map<string, Waiting>();

  constructor(
    private readonly send: (text: string) => boolean,
    private readonly limit: number,
    private readonly timeoutMs: number,
    private readonly failed: (error: RealtimeError) => void,
  ) {}

  /** Send a publish frame now or as soon as there is a connection. */
  add(frame: { topic: string; id: string; persist?: boolean; [field: string]: unknown }): Promise<Ack> {
    const done = new Promise<Ack>((resolve, reject) => this.#add(frame, resolve, reject));
    done.catch(() => {}); // told as an event too, so not awaiting it must not end a Node process
    return done;
  }

  /** Send everything that has no ack; called when the connection is open. */
  flush(): void {
    for (const [id, waiting] of this.#waiting) this.#send(id, waiting);
  }

  acknowledged(ack: Ack): void {
    this.#take(ack.id)?.resolve(ack);
  }

  /** The server refused a publish: its topic, or undefined when the id is not ours. The caller tells the error. */
  refused(id: string, error: RealtimeError): string | undefined {
    const waiting = this.#take(id);
    waiting?.reject(error);
    return waiting?.topic;
  }

  /** Reject everything. */
  close(message: string): void {
    for (const id of [...this.#waiting.keys()]) this.#fail(id, "DISCONNECTED", message);
  }

  #add(
    frame: { topic: string; id: string; persist?: boolean },
    resolve: Waiting["resolve"],
    reject: Waiting["reject"],
  ): void {
    const ref = { type: "publish", channel: frame.topic, id: frame.id };
    const refuse = (error: RealtimeError) => {
      reject(error);
      this.failed(error);
    };
    let text: string;
    try {
      text = JSON.stringify(frame);
    } catch (error) {
      return refuse(clientError("NOT_SERIALIZABLE", `data has no JSON form: ${error}`, false, ref));
    }
    if (this.#waiting.size >= this.limit) {
      return refuse(clientError("QUEUE_FULL", `${this.limit} publishes wait for an ack already`, true, ref));
    }
    const waiting: Waiting = { text, topic: frame.topic, persist: !!frame.persist, timer: undefined, resolve, reject };
    this.#waiting.set(frame.id, waiting);
    if (!waiting.persist) this.#limit(frame.id, waiting);
    this.#send(frame.id, waiting);
  }

  #send(id: string, waiting: Waiting): void {
    if (this.send(waiting.text) && waiting.persist) this.#limit(id, waiting);
  }

  #limit(id: string, waiting: Waiting): void {
    clearTimeout(waiting.timer);
    waiting.timer = setTimeout(
      () => this.#fail(id, "TIMEOUT", `no ack within ${this.timeoutMs} ms`),
      this.timeoutMs,
    );
  }

  #fail(id: string, name: "TIMEOUT" | "DISCONNECTED", message: string): void {
    const waiting = this.#take(id);
    if (!waiting) return;
    const error = clientError(name, message, true, { type: "publish", channel: waiting.topic, id });
    waiting.reject(error);
    this.failed(error);
  }

  #take(id: string): Waiting | undefined {
    const waiting = this.#waiting.get(id);
    clearTimeout(waiting?.timer);
    this.#waiting.delete(id);
    return waiting;
  }
}
