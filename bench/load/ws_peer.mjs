// The peer most people know: npm's `ws`, one send for each subscriber. Prints LISTENING <port> <pid>.
import { createRequire } from "node:module";
import http from "node:http";

const { WebSocketServer } = createRequire(process.argv[2] + "/")("ws");
const topics = new Map();
const server = http.createServer();
const sockets = new WebSocketServer({ server, perMessageDeflate: false });
sockets.on("connection", (socket) => {
  socket.on("message", (raw) => {
    const message = JSON.parse(raw);
    let members = topics.get(message.topic);
    if (!members) topics.set(message.topic, (members = new Set()));
    if (message.type === "subscribe") {
      members.add(socket);
      socket.on("close", () => members.delete(socket));
      socket.send(JSON.stringify({ type: "subscribed", topic: message.topic }));
      return;
    }
    const text = JSON.stringify({ type: "event", topic: message.topic, event: message.event, data: message.data });
    for (const member of members) member.send(text);
  });
});
server.listen({ port: 0, host: "127.0.0.1", backlog: 4096 }, () =>
  console.log("LISTENING", server.address().port, process.pid),
);
setTimeout(() => process.exit(0), 1800e3);
