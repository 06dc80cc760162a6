/** A set of callbacks. One that throws is reported and never stops the others. */

import type { Stop } from "./types.js";

export class Listeners<T> {
  #all = new Set<(value: T) => void>();

  get size(): number {
    return this.#all.size;
  }

  add(callback: (value: T) => void): Stop {
    this.#all.add(callback);
    return () => void this.#all.delete(callback);
  }

  delete(callback: (value: T) => void): void {
    this.#all.delete(callback);
  }

  clear(): void {
    this.#all.clear();
  }

  tell(value: T): void {
    for (const callback of [...this.#all]) {
      try {
        callback(value);
      } catch (error) {
        console.error("realtime: a handler failed", error);
      }
    }
  }
}
