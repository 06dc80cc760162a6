// @vitest-environment jsdom

import { cleanup, render, screen, waitFor } from "@testing-library/react";
import { StrictMode, useState } from "react";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import WebSocket from "ws";
import { Server } from "../../testing/server.js";
import {
  AerostackProvider,
  createClient,
  FlareletProvider,
  useAerostack,
  useAiStream,
  useChannel,
  usePresence,
  useRealtimeStatus,
  useSubscription,
  useTable,
} from "../src/index.js";

const server = new Server();
beforeAll(async () => {
  await server.start();
  await server.sql("CREATE TABLE orders (id INTEGER PRIMARY KEY, item TEXT, status TEXT)");
});
afterAll(() => server.remove());
afterEach(cleanup);

const WITHIN = { timeout: 10_000 };
const options = (userId: string) => ({ projectId: "demo", baseUrl: server.url, userId, WebSocket, random: () => 0 });
const other = () => createClient(options("other")).realtime;

function Live({ userId = "ann", children }: { userId?: string; children: React.ReactNode }) {
  return (
    <StrictMode>
      <FlareletProvider {...options(userId)}>{children}</FlareletProvider>
    </StrictMode>
  );
}

/** The component of the first screen, as its users write it. */
function LiveFeed() {
  const { realtime } = useAerostack();
  const [orders, setOrders] = useState<any[]>([]);
  const [channel] = useState(() => realtime.channel("orders"));
  useState(() =>
    channel
      .on("INSERT", ({ data }) => setOrders((all) => [...all, data]))
      .on("UPDATE", ({ data }) => setOrders((all) => all.map((order) => (order.id === data.id ? data : order))))
      .subscribe(),
  );
  return <ul>{orders.map((order) => <li key={order.id}>{`${order.item}: ${order.status}`}</li>)}</ul>;
}

test("a provider gives the client by the names of other SDKs, and a component without one says so", async () => {
  let seen: ReturnType<typeof useAerostack> | undefined;
  function Probe() {
    seen = useAerostack();
    return null;
  }
  render(
    <AerostackProvider {...options("ann")}>
      <Probe />
    </AerostackProvider>,
  );
  expect(seen?.projectId).toBe("demo");
  expect(seen?.baseUrl).toBe(server.url);
  expect(seen?.sdk.realtime).toBe(seen?.realtime);
  expect(() => render(<Probe />)).toThrow("useFlarelet needs a <FlareletProvider> around the component");
});

test("a feed shows inserted and updated rows", async () => {
  await server.sql("DELETE FROM orders");
  render(
    <FlareletProvider {...options("feed")}>
      <LiveFeed />
      <Status />
    </FlareletProvider>,
  );
  await screen.findByText("connected", {}, WITHIN);
  await waitFor(async () => {
    await server.sql("INSERT INTO orders (item, status) VALUES ('tea', 'new')");
    await screen.findAllByText("tea: new", {}, { timeout: 500 });
  }, WITHIN);
  await server.sql("UPDATE orders SET status = 'paid'");
  await screen.findAllByText("tea: paid", {}, WITHIN);
});

function Status() {
  return <p>{useRealtimeStatus()}</p>;
}

test("a table is a live list, with its rows first, also in strict mode and over a restart of the server", async () => {
  await server.sql("DELETE FROM orders");
  await server.sql("INSERT INTO orders VALUES (1, 'tea', 'new'), (2, 'milk', 'old')");
  function Orders() {
    const { rows, loading } = useTable<any>("orders", { filter: { status: "new" }, sort: (a, b) => a.id - b.id });
    return <p>{loading ? "loading" : rows.map((row) => row.item).join(",") || "none"}</p>;
  }
  render(
    <Live>
      <Orders />
    </Live>,
  );
  await screen.findByText("tea", {}, WITHIN);
  await server.sql("INSERT INTO orders VALUES (3, 'jam', 'new')");
  await screen.findByText("tea,jam", {}, WITHIN);
  await server.sql("UPDATE orders SET status = 'new' WHERE id = 2");
  await screen.findByText("tea,milk,jam", {}, WITHIN);
  await server.sql("DELETE FROM orders WHERE id = 1");
  await screen.findByText("milk,jam", {}, WITHIN);
  await server.stop("SIGKILL");
  await server.start();
  await server.sql("INSERT INTO orders VALUES (4, 'cake', 'new')");
  await screen.findByText("milk,jam,cake", {}, { timeout: 20_000 });
});

test("rows may come from a function of one's own", async () => {
  await server.sql("DELETE FROM orders");
  function Orders() {
    const { rows } = useTable<any>("orders", { snapshot: async () => [{ id: 99, item: "loaded" }] });
    return <p>{rows.map((row) => row.item).join(",")}</p>;
  }
  render(
    <Live>
      <Orders />
    </Live>,
  );
  await screen.findByText("loaded", {}, WITHIN);
  await server.sql("INSERT INTO orders VALUES (5, 'tea', 'new')");
  await screen.findByText("loaded,tea", {}, WITHIN);
});

test("components share a channel, and one that goes away does not silence the others", async () => {
  const room = other().channel("chat/shared");
  function View({ name }: { name: string }) {
    const [said, setSaid] = useState("");
    useChannel("chat/shared", { message: ({ data }) => setSaid(data) });
    return <p>{`${name} heard ${said}`}</p>;
  }
  function Both() {
    const [both, setBoth] = useState(true);
    return (
      <>
        <View name="first" />
        {both && <View name="second" />}
        <button onClick={() => setBoth(false)}>close</button>
      </>
    );
  }
  render(
    <Live>
      <Both />
    </Live>,
  );
  await waitFor(async () => {
    await room.publish("message", "one");
    await screen.findByText("second heard one", {}, { timeout: 500 });
  }, WITHIN);
  screen.getByText("close").click();
  await waitFor(() => expect(screen.queryByText(/second/)).toBeNull());
  await room.publish("message", "two");
  await screen.findByText("first heard two", {}, WITHIN);
});

test("presence is who is there", async () => {
  function Who() {
    const { members } = usePresence<{ name: string }>("room/here", { name: "Ann" });
    return <p>{[...members.values()].map((member) => member.state.name).sort().join("+")}</p>;
  }
  render(
    <Live>
      <Who />
    </Live>,
  );
  await screen.findByText("Ann", {}, WITHIN);
  const bob = other();
  bob.channel("room/here").track({ name: "Bob" });
  await screen.findByText("Ann+Bob", {}, WITHIN);
  bob.disconnect();
});

test("a token stream is its text so far", async () => {
  function Answer() {
    const { text, status, reason } = useAiStream("ai-chat/one");
    return <p>{`${status}: ${text} ${reason ?? ""}`}</p>;
  }
  render(
    <Live>
      <Answer />
    </Live>,
  );
  const producer = other().channel("ai-chat/one");
  const say = (event: string, data: object) => producer.publish(event, data);
  await waitFor(async () => {
    await say("ai:token", { token: "Hel", stream: "s", index: 0 });
    await screen.findByText("streaming: Hel", {}, { timeout: 500 });
  }, WITHIN);
  await say("ai:token", { token: "Hel", stream: "s", index: 0 }); // told again
  await say("ai:token", { token: "lo", stream: "s", index: 1 });
  await screen.findByText("streaming: Hello", {}, WITHIN);
  await say("ai:done", { stream: "s", reason: "done" });
  await screen.findByText("done: Hello done", {}, WITHIN);
});

test("useSubscription has the newest payload", async () => {
  function Newest() {
    const { data, loading } = useSubscription<string>("chat/newest");
    return <p>{loading ? "loading" : `newest ${data?.data ?? "nothing"}`}</p>;
  }
  render(
    <Live>
      <Newest />
    </Live>,
  );
  await screen.findByText("newest nothing", {}, WITHIN);
  await other().channel("chat/newest").publish("message", "hello");
  await screen.findByText("newest hello", {}, WITHIN);
});
