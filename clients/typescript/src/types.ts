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
  /** True when it was read from the history after a reconnect, not received live. */
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
}

/** After a reconnect (or a `resync`): how much was read again and handed to the handlers. */
export interface Recovered {
  topic: string;
  count: number;
}

/**
 * Something may have been missed. `table`: row changes have no history, read the table again; `resync`: the server left
 * changes out; `history`: the messages could not be read; `expired`: older ones are no longer kept.
 */
export interface Gap {
  topic: string;
  reason: "table" | "resync" | "history" | "expired" | "disabled";
  message: string;
}

/** Any frame of the server. */
export interface ServerFrame {
  type: string;
  [field: string]: any;
}

export type Stop = () => void;
