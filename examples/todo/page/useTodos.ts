import { useTable } from "@flarelet/react";
import { useCallback, useEffect, useMemo, useRef, useState } from "react";

export interface Todo {
  id: string;
  title: string;
  done: 0 | 1;
  created_at: number;
}

/** A change that is shown before the table tells it; `todo` is null for a deletion. */
interface Change {
  todo: Todo | null;
  isSaved: boolean;
}

const RETRY_MS = 3_000;
const SHOWN_AFTER_SAVE_MS = 2_000; // somebody else may have changed the row since: the table is right in the end

const newestFirst = (a: Todo, b: Todo) => b.created_at - a.created_at || (a.id < b.id ? 1 : -1);

const send = (id: string, todo: Todo | null) =>
  todo
    ? fetch(`/api/todos/${id}`, {
        method: "PUT",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ title: todo.title, done: todo.done, created_at: todo.created_at }),
      })
    : fetch(`/api/todos/${id}`, { method: "DELETE" });

/** The table's rows with this page's own changes on top; changes wait while there is no network. */
export function useTodos() {
  const { rows, loading, error } = useTable<Todo>("todos");
  const changes = useRef(new Map<string, Change>());
  const isSending = useRef(false);
  const retry = useRef(0);
  const [version, setVersion] = useState(0);
  const [problem, setProblem] = useState<string>();
  const redraw = useCallback(() => setVersion((version) => version + 1), []);

  const drop = useCallback(
    (id: string, change: Change) => {
      if (changes.current.get(id) === change && changes.current.delete(id)) redraw();
    },
    [redraw],
  );

  const flush = useCallback(async () => {
    if (isSending.current) return; // one after the other: a todo is not ticked before it is added
    isSending.current = true;
    clearTimeout(retry.current);
    try {
      for (;;) {
        const next = [...changes.current].find(([, change]) => !change.isSaved);
        if (!next) break;
        const [id, change] = next;
        const response = await send(id, change.todo);
        if (response.status >= 500) throw new Error(`the server answered ${response.status}`);
        if (response.ok) {
          change.isSaved = true;
          setTimeout(drop, SHOWN_AFTER_SAVE_MS, id, change);
        } else {
          const { error } = await response.json().catch(() => ({ error: "it was refused" }));
          setProblem(`Not saved: ${error}.`);
          drop(id, change);
        }
        redraw();
      }
    } catch {
      retry.current = window.setTimeout(() => void flush(), RETRY_MS); // no network: all writes may be repeated
    } finally {
      isSending.current = false;
    }
  }, [drop, redraw]);

  const change = useCallback(
    (id: string, todo: Todo | null) => {
      changes.current.set(id, { todo, isSaved: false });
      setProblem(undefined);
      redraw();
      void flush();
    },
    [flush, redraw],
  );

  useEffect(() => {
    const resend = () => void flush();
    addEventListener("online", resend);
    return () => removeEventListener("online", resend);
  }, [flush]);

  // A saved change that the table shows by now has done its work.
  useEffect(() => {
    const byId = new Map(rows.map((row) => [row.id, row]));
    for (const [id, change] of changes.current) {
      const row = byId.get(id);
      const isShown = change.todo ? row?.title === change.todo.title && row.done === change.todo.done : !row;
      if (change.isSaved && isShown) drop(id, change);
    }
  }, [rows, version, drop]);

  const todos = useMemo(() => {
    const shown = new Map(rows.map((row) => [row.id, row]));
    for (const [id, { todo }] of changes.current) {
      if (todo) shown.set(id, todo);
      else shown.delete(id);
    }
    return [...shown.values()].sort(newestFirst);
  }, [rows, version]);

  const unsaved = [...changes.current.values()].filter((change) => !change.isSaved).length;
  return {
    todos,
    loading,
    problem: problem ?? error?.message,
    unsaved,
    add: (title: string) => {
      const id = Array.from(crypto.getRandomValues(new Uint32Array(4)), (part) => part.toString(36)).join("-");
      change(id, { id, title, done: 0, created_at: Date.now() });
    },
    toggle: (todo: Todo) => change(todo.id, { ...todo, done: todo.done ? 0 : 1 }),
    remove: (todo: Todo) => change(todo.id, null),
  };
}
