import { FlareletProvider } from "@flarelet/react";
import { type FormEvent, StrictMode, useRef, useState } from "react";
import { createRoot } from "react-dom/client";
import { Status } from "./Status";
import "./theme.css";
import "./todo.css";
import { type Todo, useTodos } from "./useTodos";

function App() {
  const { todos, loading, problem, unsaved, add, toggle, remove } = useTodos();
  const [title, setTitle] = useState("");
  const input = useRef<HTMLInputElement>(null);
  const left = todos.filter((todo) => !todo.done).length;

  const submit = (event: FormEvent) => {
    event.preventDefault();
    const text = title.trim().replace(/\s+/g, " ");
    if (!text) return;
    add(text);
    setTitle("");
  };

  const removeAndStay = (todo: Todo) => {
    remove(todo);
    input.current?.focus(); // the button that had it is gone
  };

  return (
    <main className="todo">
      <header>
        <div className="top">
          <h1>Todo list</h1>
          <Status />
        </div>
        <p className="intro">One list in every window. Changes show at once, and are saved when there is a network.</p>
      </header>
      <section className="panel" aria-label="Todos">
        <form className="todo-form" onSubmit={submit}>
          <label className="visually-hidden" htmlFor="title">
            What is to be done?
          </label>
          <input
            id="title"
            ref={input}
            value={title}
            maxLength={200}
            placeholder="What is to be done?"
            autoComplete="off"
            onChange={(event) => setTitle(event.target.value)}
          />
          <button className="button">Add</button>
        </form>
        <ul className="todo-list">
          {todos.map((todo) => (
            <li key={todo.id} className="todo-item" data-testid="todo" data-done={todo.done}>
              <label>
                <input type="checkbox" checked={todo.done === 1} onChange={() => toggle(todo)} />
                <span>{todo.title}</span>
              </label>
              <button className="todo-remove" aria-label={`Delete ${todo.title}`} onClick={() => removeAndStay(todo)}>
                <svg viewBox="0 0 16 16" width="16" height="16" aria-hidden="true">
                  <path d="M4 4l8 8M12 4l-8 8" stroke="currentColor" strokeWidth="1.6" strokeLinecap="round" />
                </svg>
              </button>
            </li>
          ))}
        </ul>
        {!todos.length && <p className="todo-empty">{loading ? "Loading ..." : "Nothing to do. Enjoy the day!"}</p>}
        <footer className="todo-foot">
          <span data-testid="left">
            {left} of {todos.length} left
          </span>
          <span role="status" data-testid="unsaved">
            {unsaved > 0 && `${unsaved} not saved yet`}
          </span>
        </footer>
      </section>
      <p className="todo-problem" role="alert">
        {problem}
      </p>
    </main>
  );
}

createRoot(document.getElementById("root")!).render(
  <StrictMode>
    <FlareletProvider projectId="todo" baseUrl={location.origin}>
      <App />
    </FlareletProvider>
  </StrictMode>,
);
