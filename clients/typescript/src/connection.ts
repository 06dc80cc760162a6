/**
 * One WebSocket that is kept open: connecting, pings, and coming back after a loss.
 *
 * idle -> connecting -> connected <-> reconnecting, and disconnected after `close()` or too many attempts.
 * The count of attempts goes back to 0 at the first frame of the server, not when the socket opens: a server that accepts
 * and closes at once must not be asked once a second by every page.
 */

import { backoffMs } from "./backoff.js";
import { clientError, RealtimeError } from "./errors.js";
import { Listeners } from "./listeners.js";
import type { RealtimeStatus, ServerFrame } from "./types.js";

const PING_EVERY_MS = 30_000;
const PONG_WITHIN_MS = 10_000;
const CONNECT_WITHIN_MS = 20_000;
const OPEN = 1;

/** The part of the standard WebSocket that is used, so that another class can be given where there is none. */
export interface SocketLike {
  readyState: number;
  readonly protocol?: string;
  onopen: ((event: any) => void) | null;
  onmessage: ((event: any) => void) | null;
  onclose: ((event: any) => void) | null;
  onerror: ((event: any) => void) | null;
  send(data: string): void;
  close(code?: number, reason?: string): void;
}
export type SocketClass = new (url: string, protocols?: string[]) => SocketLike;

export interface ConnectionOptions {
  /** Asked at each attempt, so that a new token counts. */
  address: () => { url: string; protocols: string[] };
  Socket: SocketClass | undefined;
  maxAttempts: number;
  random: () => number;
  /** `protocol` is what the server chose. */
  opened: (protocol: string) => void;
  received: (frame: ServerFrame) => void;
  failed: (error: RealtimeError) => void;
  gaveUp: () => void;
}

type Waiter = { resolve: () => void; reject: (error: Error) => void };

export class Connection {
  readonly statusListeners = new Listeners<RealtimeStatus>();
  #status: RealtimeStatus = "idle";
  #socket: SocketLike | undefined;
  #attempts = 0;
  #retryTimer: ReturnType<typeof setTimeout> | undefined;
  #pingTimer: ReturnType<typeof setInterval> | undefined;
  #watchdog: ReturnType<typeof setTimeout> | undefined;
  #waiters: Waiter[] = [];
  #said = ""; // what the socket's error event told, for the message

  constructor(private readonly options: ConnectionOptions) {}

  get status(): RealtimeStatus {
    return this.#status;
  }

  /** Open and stay open. Resolves when open; rejects if the first attempt fails, while further ones go on. */
  connect(): Promise<void> {
    if (this.#status === "connected") return Promise.resolve();
    const done = new Promise<void>((resolve, reject) => this.#waiters.push({ resolve, reject }));
    if (this.#status === "idle" || this.#status === "disconnected") {
      this.#attempts = 0;
      this.#listen(true);
      this.#become("connecting");
      this.#open();
    }
    return done;
  }

  /** Close, and stay closed until `connect()`. */
  close(): void {
    this.#listen(false);
    clearTimeout(this.#retryTimer);
    this.#retryTimer = undefined;
    this.#drop(1000);
    this.#become("disconnected");
    this.#settle(clientError("DISCONNECTED", "disconnected before the connection was open"));
  }

  /** Send a frame; false when the socket is not open. */
  send(text: string): boolean {
    if (this.#status !== "connected" || this.#socket?.readyState !== OPEN) return false;
    this.#socket.send(text);
    return true;
  }

  #open(): void {
    const Socket = this.options.Socket ?? (globalThis as { WebSocket?: SocketClass }).WebSocket;
    if (!Socket) {
      this.close();
      this.options.failed(clientError("BAD_OPTION", "there is no global WebSocket here: give the option WebSocket"));
      return;
    }
    const { url, protocols } = this.options.address();
    const socket = protocols.length ? new Socket(url, protocols) : new Socket(url);
    this.#socket = socket;
    this.#said = "";
    socket.onopen = () => this.#opened();
    socket.onmessage = ({ data }) => this.#received(data);
    socket.onerror = (event) => (this.#said = event?.message ?? "");
    socket.onclose = (event) => this.#lost(event?.code, event?.reason);
    this.#watch(CONNECT_WITHIN_MS, "no answer");
  }

  #opened(): void {
    clearTimeout(this.#watchdog);
    this.#watchdog = undefined;
    this.#pingTimer = setInterval(() => this.#ping(), PING_EVERY_MS);
    this.#become("connected", () => this.options.opened(this.#socket?.protocol ?? ""));
    this.#settle();
  }

  #received(data: unknown): void {
    clearTimeout(this.#watchdog);
    this.#watchdog = undefined;
    this.#attempts = 0;
    let frame: unknown;
    try {
      frame = JSON.parse(data as string);
    } catch {
      return this.options.failed(clientError("BAD_FRAME", "the server sent a frame that is not JSON"));
    }
    if (frame !== null && typeof frame === "object") this.options.received(frame as ServerFrame);
  }

  #ping(): void {
    this.send('{"type":"ping"}');
    if (this.#watchdog === undefined) this.#watch(PONG_WITHIN_MS, "no pong");
  }

  /** Give the socket up when it stays silent. On a dead path close() can take minutes, so it is not waited for. */
  #watch(limitMs: number, reason: string): void {
    this.#watchdog = setTimeout(() => {
      this.#said = reason;
      this.#lost();
    }, limitMs);
  }

  #lost(code?: number, reason?: string): void {
    const wasOpen = this.#status === "connected";
    const why = reason || this.#said || (code === undefined ? "the socket is silent" : `code ${code}`);
    this.#drop();
    const exhausted = this.#attempts >= this.options.maxAttempts;
    const attempt = this.#attempts++;
    if (exhausted) {
      this.#listen(false);
      this.#become("disconnected");
    } else {
      this.#become("reconnecting");
      this.#retryTimer = setTimeout(() => this.#retry(), backoffMs(attempt, this.options.random));
    }
    if (!wasOpen) {
      const error = clientError("CONNECT_FAILED", `could not connect: ${why}`, !exhausted);
      this.#settle(error);
      this.options.failed(error);
    }
    if (exhausted) this.options.gaveUp();
  }

  #retry(): void {
    clearTimeout(this.#retryTimer);
    this.#retryTimer = undefined;
    if (this.#status === "reconnecting") this.#open();
  }

  #drop(code?: number): void {
    clearInterval(this.#pingTimer);
    clearTimeout(this.#watchdog);
    this.#watchdog = undefined;
    const socket = this.#socket;
    this.#socket = undefined;
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.onerror = () => {}; // `ws` throws an error nobody listens for
    if (socket.readyState <= OPEN) socket.close(code);
  }

  /** `first` runs before listeners are told: subscriptions are restored before user code publishes. */
  #become(status: RealtimeStatus, first?: () => void): void {
    if (status === this.#status) return;
    this.#status = status;
    first?.();
    this.statusListeners.tell(status);
  }

  #settle(error?: Error): void {
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const { resolve, reject } of waiters) error ? reject(error) : resolve();
  }

  // -- what a browser knows of its network

  #online = (): void => {
    if (this.#retryTimer !== undefined) this.#retry();
  };
  #offline = (): void => {
    if (this.#status === "connected") this.#lost(undefined, "the browser is offline");
  };
  #visible = (): void => {
    if (document.visibilityState !== "visible") return;
    if (this.#status === "connected") this.#ping(); // timers slept: is the path still there?
    else this.#online();
  };

  #listen(on: boolean): void {
    if (typeof window === "undefined" || typeof document === "undefined") return;
    const act = on ? "addEventListener" : "removeEventListener";
    window[act]?.("online", this.#online);
    window[act]?.("offline", this.#offline);
    document[act]("visibilitychange", this.#visible);
  }
}
