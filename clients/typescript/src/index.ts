export { Channel, Channel as RealtimeSubscription, type ChannelOptions, type PublishOptions } from "./channel.js";
export {
  createClient,
  FlareletClient,
  FlareletClient as AerostackClient,
  FlareletClient as SDK,
  type FlareletConfig,
  type FlareletConfig as AerostackConfig,
} from "./client.js";
export type { SocketClass, SocketLike } from "./connection.js";
export { ClientCode, type ErrorReference, RealtimeError } from "./errors.js";
export type { Presence } from "./presence.js";
export { RealtimeClient, type RealtimeClientOptions } from "./realtime.js";
export type * from "./types.js";
