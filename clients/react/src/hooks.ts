/** Hooks. Each subscribes while its component is mounted; components on the same topic share one subscription. */

import type {
  Channel,
  ChannelOptions,
  Member,
  Occupancy,
  RealtimeError,
  RealtimePayload,
  RealtimeStatus,
} from "@flarelet/realtime";
import { useCallback, useEffect, useMemo, useRef, useState, useSyncExternalStore } from "react";
import { useFlarelet } from "./context.js";

/** Where the connection stands. */
export function useRealtimeStatus(): RealtimeStatus {
  const { realtime } = useFlarelet();
  return useSyncExternalStore(
    useCallback((changed) => realtime.onStatusChange(changed), [realtime]),
    () => realtime.status,
    () => "idle" as const,
  );
}

export type Handlers<T> = Record<string, (payload: RealtimePayload<T>) => void>;

/** A value that is the same object as long as its JSON is: options are often written in place. */
function useStable<T>(value: T): T {
  const key = JSON.stringify(value);
  return useMemo(() => value, [key]);
}

/**
 * A channel that is subscribed while the component is mounted. Handlers, by event name or `*`, may change at each render.
 * `undefined` as the topic subscribes nothing.
 */
export function useChannel<T = any>(
  topic: string | undefined,
  handlers: Handlers<T> = {},
  options: ChannelOptions = {},
): Channel<T> | undefined {
  const { realtime } = useFlarelet();
  const latest = useRef(handlers);
  latest.current = handlers;
  const stable = useStable(options);
  const channel = useMemo(
    () => (topic === undefined ? undefined : realtime.channel<T>(topic, stable)),
    [realtime, topic, stable],
  );
  useEffect(() => {
    if (!channel) return;
    channel.on("*", (payload) => {
      const name = payload.operation ?? payload.event ?? payload.type;
      latest.current[name]?.(payload);
      if (name !== "*") latest.current["*"]?.(payload);
    });
    channel.subscribe();
    return () => channel.unsubscribe();
  }, [channel]);
  return channel;
}

export interface TableOptions<T> extends Omit<ChannelOptions, "snapshot"> {
  /** Begin with the table's rows (default true): from the server without a gap, or by a function of your own. */
  snapshot?: boolean | (() => Promise<T[]>);
  /** The column that tells rows apart (default "id"). */
  key?: keyof T & string;
  /** The order of the rows; as they came otherwise. */
  sort?: (a: T, b: T) => number;
}

export interface Table<T> {
  /** The rows, always as a new array when something changed. */
  rows: T[];
  /** True until the first rows are there. */
  loading: boolean;
  error: Error | null;
}

type Rows<T> = ReadonlyMap<unknown, T>;

/** A table as a live list: its rows, and every change after them. */
export function useTable<T = any>(name: string, options: TableOptions<T> = {}): Table<T> {
  const { realtime } = useFlarelet();
  const { snapshot = true, key = "id" as keyof T & string, sort, ...rest } = options;
  const stable = useStable({ ...rest, snapshot: snapshot === true });
  const load = useRef(snapshot);
  load.current = snapshot;
  const [state, setState] = useState<{ rows: Rows<T>; loading: boolean; error: Error | null }>({
    rows: new Map(),
    loading: snapshot !== false,
    error: null,
  });
  useEffect(() => {
    let isMounted = true;
    let run = 0;
    let waiting: RealtimePayload<T>[] | undefined; // changes that came while rows were loaded
    const channel = realtime.channel<T>(name, stable);
    const show = (rows: T[]) =>
      setState({ rows: new Map(rows.map((row) => [row[key], row])), loading: false, error: null });
    const change = (payload: RealtimePayload<T>) =>
      setState((state) => ({ ...state, rows: applied(state.rows, payload, key) }));
    const reload = async () => {
      if (typeof load.current !== "function") return;
      const mine = ++run;
      waiting ??= [];
      try {
        const rows = await load.current();
        if (!isMounted || mine !== run) return;
        show(rows);
        waiting.forEach(change);
        waiting = undefined;
      } catch (error) {
        if (isMounted && mine === run) fail(error instanceof Error ? error : new Error(String(error)));
      }
    };
    const fail = (error: Error) => setState((state) => ({ ...state, loading: false, error }));
    channel.on("*", (payload) => (waiting ? waiting.push(payload) : change(payload)));
    channel.onSnapshot(show);
    channel.onReady(({ again }) => again || void reload());
    channel.onGap(() => void reload());
    channel.onError(fail);
    channel.subscribe();
    return () => {
      isMounted = false;
      channel.unsubscribe();
    };
  }, [realtime, name, stable, key]);
  const rows = useMemo(() => {
    const list = [...state.rows.values()];
    return sort ? list.sort(sort) : list;
  }, [state.rows, sort]);
  return { rows, loading: state.loading, error: state.error };
}

function applied<T>(rows: Rows<T>, { operation, data, old }: RealtimePayload<T>, key: keyof T): Rows<T> {
  if (!operation) return rows;
  const next = new Map(rows);
  if (operation === "DELETE") next.delete(data[key]);
  else {
    if (old && old[key] !== data[key]) next.delete(old[key]);
    next.set(data[key], data);
  }
  return next;
}

export interface PresenceState<S> {
  members: ReadonlyMap<string, Member<S>>;
  occupancy: Occupancy;
  /** Change what the others see of this component's user. */
  update: (state: Record<string, unknown>) => void;
}

/** Who is present on a topic. With `state`, this user is too, while the component is mounted. */
export function usePresence<S = Record<string, any>>(
  topic: string,
  state?: Record<string, unknown>,
): PresenceState<S> {
  const channel = useChannel(topic);
  const stable = useStable(state);
  const [, redraw] = useState(0);
  useEffect(() => channel?.presence.onChange(() => redraw((count) => count + 1)), [channel]);
  useEffect(() => {
    if (!channel || !stable) return;
    channel.track(stable);
  }, [channel, stable]);
  useEffect(() => {
    if (!channel || !stable) return;
    return () => channel.untrack();
  }, [channel, stable === undefined]);
  const update = useCallback((next: Record<string, unknown>) => channel?.track(next), [channel]);
  const presence = channel?.presence;
  return {
    members: (presence?.members ?? new Map()) as ReadonlyMap<string, Member<S>>,
    occupancy: presence?.occupancy ?? { users: 0, connections: 0 },
    update,
  };
}

export interface AiStream {
  /** Everything the stream has said so far. */
  text: string;
  status: "waiting" | "streaming" | "done" | "error";
  /** Why it ended: "done", "cancelled", "length", ... */
  reason: string | undefined;
  error: string | undefined;
  /** Ask for its end. */
  cancel: (reason?: string) => void;
}

interface StreamState {
  text: string;
  status: AiStream["status"];
  stream?: string;
  next: number;
  reason?: string;
  error?: string;
}

const NOTHING: StreamState = { text: "", status: "waiting", next: 0 };

/** The newest token stream of a topic, as text. A component that comes late has everything so far. */
export function useAiStream(topic: string | undefined): AiStream {
  const [state, setState] = useState<StreamState>(NOTHING);
  useEffect(() => setState(NOTHING), [topic]);
  const channel = useChannel<any>(topic, {
    "ai:token": ({ data }) => setState((state) => said(state, data)),
    "ai:error": ({ data }) => setState((state) => ({ ...state, status: "error", error: data?.message ?? "failed" })),
    "ai:done": ({ data }) =>
      setState((state) => ({
        ...state,
        text: data?.text ?? state.text,
        status: state.status === "error" ? "error" : "done",
        reason: data?.reason ?? "done",
      })),
  });
  const stream = state.stream;
  const cancel = useCallback(
    (reason?: string) => void (channel && stream !== undefined && channel.cancel(stream, reason)),
    [channel, stream],
  );
  return { text: state.text, status: state.status, reason: state.reason, error: state.error, cancel };
}

/** Add tokens: those that are there already (the server tells them again after a loss) are left out. */
function said(state: StreamState, data: any): StreamState {
  const { token = "", stream, index, lastIndex = index } = data ?? {};
  const isOther = stream !== state.stream || state.status === "done" || state.status === "error";
  const known = isOther ? { ...NOTHING, stream } : state;
  const next: StreamState = { ...known, status: "streaming" };
  if (index === undefined) return { ...next, text: known.text + token }; // a producer that does not number
  if (index === 0 && lastIndex >= known.next) return { ...next, text: token, next: lastIndex + 1 };
  if (index < known.next) return next;
  return { ...next, text: known.text + token, next: lastIndex + 1 };
}

export interface Subscription<T> {
  /** The newest payload. For each of them, use `useChannel`. */
  data: RealtimePayload<T> | null;
  error: RealtimeError | Error | null;
  loading: boolean;
}

/** The newest payload of a topic, as other SDKs have it. */
export function useSubscription<T = any>(topic: string, options: ChannelOptions = {}): Subscription<T> {
  const [data, setData] = useState<RealtimePayload<T> | null>(null);
  const [error, setError] = useState<Error | null>(null);
  const [loading, setLoading] = useState(true);
  const { event, ...rest } = options;
  const channel = useChannel<T>(topic, { [typeof event === "string" ? event : "*"]: (payload) => setData(payload) }, rest);
  useEffect(() => {
    const stops = [channel?.onReady(() => setLoading(false)), channel?.onError((failure) => setError(failure))];
    return () => stops.forEach((stop) => stop?.());
  }, [channel]);
  return { data, error, loading };
}
