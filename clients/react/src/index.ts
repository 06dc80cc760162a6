export * from "@flarelet/realtime";
export {
  FlareletProvider,
  FlareletProvider as AerostackProvider,
  type FlareletContext,
  type FlareletContext as AerostackContextType,
  type FlareletProviderProps,
  type FlareletProviderProps as AerostackProviderProps,
  useFlarelet,
  useFlarelet as useAerostack,
} from "./context.js";
export {
  type AiStream,
  type Handlers,
  type PresenceState,
  type Subscription,
  type Table,
  type TableOptions,
  useAiStream,
  useChannel,
  usePresence,
  useRealtimeStatus,
  useSubscription,
  useTable,
} from "./hooks.js";
