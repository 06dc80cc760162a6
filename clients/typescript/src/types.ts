/** What crosses the wire, and what handlers are given. */

/** Where the connection stands. `reconnecting` covers the waiting and the trying after a loss. */
export type RealtimeStatus = "idle" | "connecting" | "connected" | "reconnecting" | "disconnected";

/** A row change, an event's own name, or `*` for everything. */
export type RealtimeEvent = "INSERT" | "UPDATE" | "DELETE" | "*" | (string & {});

/** What a handler is given. `data` is the new row of a table change; for DELETE, the row that went. */
export interface RealtimePayload<T = any> {
  type: "db_change" | "chat_message" | "event";
  topic: string;
  operation?: "INSERT" | "UPDATE" | "DELETE";
  event?: string;
  data: T;
  old?: T;
  userId?: string;
  timestamp?: number;
  id?: string;
  /** Its position. */
  epoch?: string;
  offset?: number;
  /** True when it was missed while the connection was away and told afterwards. */
  recovered?: boolean;
  [field: string]: any;
}

export type RealtimeCallback<T = any> = (payload: RealtimePayload<T>) => void;

/** A stored message, as the history endpoint gives it. `created_at` is in ms, unique and growing within a topic. */
export interface HistoryMessage<T = any> {
  id: string;
  room_id: string;
  user_id: string | null;
  event: string;
  data: T;
  created_at: number;
}

/** The place of an event in its topic: `offset` grows within an `epoch`. */
export interface Position {
  epoch: string;
  offset: number;
}

/** What the server says of a publish it accepted. */
export interface Ack {
  id: string;
  timestamp: number;
  /** True when it was stored before it was acknowledged. */
  persisted?: boolean;
  /** True when the server already knew this id and did nothing again. */
  duplicate?: boolean;
  epoch?: string;
  offset?: number;
}

/** Somebody present on a topic. */
export interface Member<S = Record<string, any>> {
  userId: string;
  state: S;
  /** The ids of the user's connections. */
  connections?: string[];
}

/** How many are present on a topic. */
export interface Occupancy {
  users: number;
  connections: number;
}

/** After a reconnect: nothing is missing; so many missed events were handed to the handlers. */
export interface Recovered {
  topic: string;
  count: number;
}

/**
 * Something may have been missed between two positions: read again what is shown. `reason` is the server's (`expired`,
 * `epoch`, `resync`, `unwatched`, ...), or `server` when it does not speak of positions at all.
 */
export interface Gap {
  topic: string;
  reason: string;
  message: string;
  from?: Position | null;
  to?: Position | null;
}

/** Any frame of the server. */
export interface ServerFrame {
  type: string;
  [field: string]: any;
}

export type Stop = () => void;
