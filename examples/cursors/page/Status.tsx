import { useRealtimeStatus } from "@flarelet/react";

const TEXT = {
  idle: "Connecting",
  connecting: "Connecting",
  connected: "Connected",
  reconnecting: "Reconnecting",
  disconnected: "Disconnected",
};

/** Where the connection stands, also told to those who do not see it. */
export function Status() {
  const status = useRealtimeStatus();
  return (
    <span className="pill" role="status" data-state={status} data-testid="status">
      {TEXT[status]}
    </span>
  );
}
