// The `ws` client of npm, driven by lines of JSON: {open, protocols}, {send}, {close}. Says what happens as lines.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const require = createRequire(`${process.argv[2]}/`);
const { WebSocket } = require("ws");
const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
let socket;

for await (const line of createInterface({ input: process.stdin })) {
  const order = JSON.parse(line);
  if (order.open !== undefined) {
    try {
      socket = new WebSocket(order.open, order.protocols);
    } catch (error) {
      say({ error: String(error) });
      continue;
    }
    socket.on("open", () => say({ opened: socket.protocol }));
    socket.on("message", (data, isBinary) => say({ message: data.toString(), isBinary }));
    socket.on("close", (code) => say({ closed: code }));
    socket.on("unexpected-response", (request, response) => {
      say({ refused: response.statusCode });
      request.destroy();
    });
    socket.on("error", (error) => say({ error: String(error) }));
  } else if (order.send !== undefined) {
    socket.send(order.send);
  } else {
    socket.close(1000);
  }
}
