import { FlareletProvider, useFlarelet } from "@flarelet/react";
import { type KeyboardEvent, type PointerEvent, StrictMode, useEffect, useRef } from "react";
import { createRoot } from "react-dom/client";
import { hueOf, identify, type Person } from "./person";
import { Status } from "./Status";
import { type Place, type Somebody, useBoard } from "./useBoard";
import "./theme.css";
import "./cursors.css";

const STEP = 0.02;
const LONG_STEP = 0.1;
const DIRECTIONS: Record<string, readonly [number, number]> = {
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowUp: [0, -1],
  ArrowDown: [0, 1],
};
const MIDDLE: Place = { x: 0.5, y: 0.5 };

const at = ({ x, y }: Place) => ({ left: `${x * 100}%`, top: `${y * 100}%` });

/** A place in words, for whoever does not see the board. */
function inWords({ x, y }: Place): string {
  const row = y < 1 / 3 ? "top" : y > 2 / 3 ? "bottom" : "middle";
  const column = x < 1 / 3 ? "left" : x > 2 / 3 ? "right" : "centre";
  return row === "middle" && column === "centre" ? "centre" : `${row} ${column}`;
}

function Cursor({ person, place, isMine }: { person: Person; place: Place; isMine?: boolean }) {
  return (
    <div className="cursor" data-testid="cursor" data-mine={isMine} data-hue={hueOf(person.id)} style={at(place)}>
      <svg viewBox="0 0 20 20" width="26" height="26">
        <path d="M2 2l6 16 2.4-6.6L17 9z" fill="currentColor" stroke="var(--surface)" strokeWidth="1.5" strokeLinejoin="round" />
      </svg>
      <span data-flip={place.x > 0.7}>{isMine ? "You" : person.name}</span>
    </div>
  );
}

/** A page that goes away says so, and its person leaves at once; one that comes back from the browser's cache connects. */
function useGoodbye() {
  const { realtime } = useFlarelet();
  useEffect(() => {
    const leave = () => realtime.disconnect();
    const comeBack = (event: PageTransitionEvent) => event.persisted && void realtime.connect().catch(() => {});
    addEventListener("pagehide", leave);
    addEventListener("pageshow", comeBack);
    return () => {
      removeEventListener("pagehide", leave);
      removeEventListener("pageshow", comeBack);
    };
  }, [realtime]);
}

function Board({ me, name }: { me: Person; name: string }) {
  const { here, others, marks, problem, move, mark } = useBoard(`board/${name}`, me);
  useGoodbye();
  const board = useRef<HTMLDivElement>(null);

  const placeOf = (event: PointerEvent): Place => {
    const { left, top, width, height } = board.current!.getBoundingClientRect();
    return { x: (event.clientX - left) / width, y: (event.clientY - top) / height };
  };
  const moved = (event: PointerEvent) => {
    const { x, y } = placeOf(event);
    move(x, y);
    return { x, y };
  };
  const pressed = (event: KeyboardEvent) => {
    const { x, y } = here ?? MIDDLE;
    const direction = DIRECTIONS[event.key];
    if (direction) {
      const step = event.shiftKey ? LONG_STEP : STEP;
      move(x + direction[0] * step, y + direction[1] * step);
    } else if (event.key === "Enter" || event.key === " ") mark({ x, y });
    else return;
    event.preventDefault(); // the page does not scroll
  };

  return (
    <main className="cursors">
      <header>
        <div className="top">
          <h1>Shared cursors</h1>
          <Status />
        </div>
        <p className="intro">Everybody on this board sees where you point to. Click or tap to leave a mark.</p>
      </header>
      <div
        ref={board}
        className="panel board"
        data-testid="board"
        role="application"
        aria-label="Board"
        aria-describedby="keys"
        tabIndex={0}
        onPointerMove={moved}
        onPointerDown={(event) => event.isPrimary && mark(moved(event))}
        onKeyDown={pressed}
      >
        {marks.map(({ id, userId, x, y }) => (
          <div key={id} className="mark" data-testid="mark" data-hue={hueOf(userId)} style={at({ x, y })} />
        ))}
        {others.map(({ x, y, ...person }) => x !== undefined && y !== undefined && (
          <Cursor key={person.id} person={person} place={{ x, y }} />
        ))}
        {here && <Cursor person={me} place={here} isMine />}
      </div>
      <p id="keys" className="keys">
        With the keyboard: focus the board, move with the <kbd>arrow keys</kbd>, further with <kbd>Shift</kbd>, leave a mark
        with <kbd>Enter</kbd>.
      </p>
      <section aria-labelledby="people">
        <h2 id="people">Here now</h2>
        <ul className="people">
          <PersonItem person={me} place={here} note=" (you)" />
          {others.map((person) => (
            <PersonItem key={person.id} person={person} place={placed(person)} />
          ))}
        </ul>
      </section>
      <p className="problem" role="alert">
        {problem}
      </p>
    </main>
  );
}

const placed = ({ x, y }: Somebody): Place | undefined => (x === undefined || y === undefined ? undefined : { x, y });

function PersonItem({ person, place, note }: { person: Person; place?: Place; note?: string }) {
  return (
    <li data-testid="person" data-hue={hueOf(person.id)}>
      <b>
        {person.name}
        {note}
      </b>
      <span>{place ? inWords(place) : "not pointing yet"}</span>
    </li>
  );
}

const me = identify();
const name = (new URLSearchParams(location.search).get("board") ?? "main").replace(/[^\w.-]+/g, "-").slice(0, 40) || "main";

createRoot(document.getElementById("root")!).render(
  <StrictMode>
    <FlareletProvider projectId="cursors" baseUrl={location.origin} userId={me.id}>
      <Board me={me} name={name} />
    </FlareletProvider>
  </StrictMode>,
);
