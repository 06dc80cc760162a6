import { type HistoryMessage, useChannel, usePresence } from "@flarelet/react";
import { useCallback, useEffect, useMemo, useRef, useState } from "react";
import type { Person } from "./person";

export interface Place {
  x: number;
  y: number;
}

export interface Mark extends Place {
  id: string;
  name: string;
  userId: string;
}

interface State extends Partial<Place> {
  name?: string;
}

export interface Somebody extends Partial<Place> {
  id: string;
  name: string;
}

const MOVE_EVERY_MS = 50;
const REST_MS = 300;
const MARKS = 200;

const clamp = (value: number) => Math.round(Math.min(1, Math.max(0, value)) * 10_000) / 10_000;

/**
 * A board: who is on it, where they point to, and the marks they left.
 *
 * Moves are events that nobody keeps, at most one each 50 ms. Where a cursor rests is part of its person's presence, so
 * whoever comes later, or comes back, sees it where it is. Marks are kept by the server.
 */
export function useBoard(topic: string, me: Person) {
  const [moving, setMoving] = useState<ReadonlyMap<string, Place>>(new Map());
  const [marks, setMarks] = useState<ReadonlyMap<string, Mark>>(new Map());
  const [here, setHere] = useState<Place>();
  const [rest, setRest] = useState<Place>();
  const [problem, setProblem] = useState<string>();

  const { members } = usePresence<State>(topic, useMemo(() => ({ name: me.name, ...rest }), [me, rest]));

  const channel = useChannel<any>(topic, {
    move: ({ userId, data }) => {
      if (userId && userId !== me.id) setMoving((known) => new Map(known).set(userId, data));
    },
    mark: ({ id, userId, data }) => addMarks([{ ...data, id: String(id), userId: userId ?? "" }]),
    "presence:update": ({ data }) => settle(data.userId),
    "presence:leave": ({ data }) => settle(data.userId),
    "presence:sync": () => setMoving(new Map()),
  });

  const settle = (id: string) =>
    setMoving((known) => {
      const next = new Map(known);
      return next.delete(id) ? next : known;
    });

  const addMarks = useCallback((more: Mark[]) => {
    setMarks((known) => {
      const next = new Map(known);
      for (const mark of more) next.set(mark.id, mark);
      return new Map([...next].slice(-MARKS));
    });
  }, []);

  useEffect(() => {
    if (!channel) return;
    const load = async () => {
      const messages: HistoryMessage<any>[] = await channel.getHistory(MARKS);
      const kept = messages.filter(({ event }) => event === "mark").reverse();
      addMarks(kept.map(({ id, user_id, data }) => ({ ...data, id: String(id), userId: user_id ?? "" })));
    };
    const read = () => void load().catch((error: Error) => setProblem(error.message));
    const stops = [
      channel.onReady(({ again }) => again || read()),
      channel.onGap(read),
      channel.onError((error) => setProblem(error.message)),
    ];
    return () => stops.forEach((stop) => stop());
  }, [channel, addMarks]);

  const sent = useRef({ at: 0, timer: 0, resting: 0 });
  useEffect(() => () => [sent.current.timer, sent.current.resting].forEach((timer) => clearTimeout(timer)), []);

  const move = useCallback(
    (x: number, y: number) => {
      const place = { x: clamp(x), y: clamp(y) };
      const state = sent.current;
      setHere(place);
      clearTimeout(state.timer);
      clearTimeout(state.resting);
      const tell = () => {
        state.at = performance.now();
        // What moves while there is no network is old when there is one: where it rests is told then.
        if (channel?.isReady) channel.publish("move", place).catch(() => {});
      };
      const wait = state.at + MOVE_EVERY_MS - performance.now();
      if (wait <= 0) tell();
      else state.timer = window.setTimeout(tell, wait);
      state.resting = window.setTimeout(() => setRest(place), REST_MS);
    },
    [channel],
  );

  const mark = useCallback(
    (place: Place) => {
      setProblem(undefined);
      const id = crypto.getRandomValues(new Uint32Array(3)).join("-");
      addMarks([{ ...place, id, name: me.name, userId: me.id }]); // shown at once, kept when the server has it
      channel?.publish("mark", { ...place, name: me.name }, { persist: true, id }).catch((error: Error) => {
        setProblem(`The mark was not kept: ${error.message}`);
      });
    },
    [channel, me, addMarks],
  );

  const others: Somebody[] = [...members.values()]
    .filter(({ userId }) => userId !== me.id)
    .map(({ userId, state }) => ({ id: userId, name: state.name ?? userId, x: state.x, y: state.y, ...moving.get(userId) }));

  return { here, others, marks: [...marks.values()], problem, move, mark };
}
