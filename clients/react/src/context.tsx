/** The provider: one client for the components below it. */

import { FlareletClient, type FlareletConfig, type RealtimeClient } from "@flarelet/realtime";
import { createContext, type ReactElement, type ReactNode, useContext, useEffect, useMemo } from "react";

export interface FlareletContext {
  realtime: RealtimeClient;
  sdk: FlareletClient;
  projectId: string;
  baseUrl: string;
}

const Context = createContext<FlareletContext | null>(null);

/** What makes the client: its options, or a client that somebody else owns. */
export interface FlareletProviderProps extends FlareletConfig {
  client?: FlareletClient;
  children?: ReactNode;
}

/**
 * Gives the components below it a client. It connects when a component first needs it, and closes with the provider; other
 * `projectId`, `baseUrl`, `apiKey` or `userId` make another client, another `token` is told to the one there is.
 */
export function FlareletProvider({ children, client, ...options }: FlareletProviderProps): ReactElement {
  const { projectId, projectSlug, baseUrl, serverURL, apiKey, apiKeyAuth, userId, token } = options;
  const sdk = useMemo(
    () => client ?? new FlareletClient(options),
    [client, projectId, projectSlug, baseUrl, serverURL, apiKey, apiKeyAuth, userId],
  );
  const isOwn = !client;
  useEffect(() => {
    // Strict mode, and fast refresh, unmount and mount once more: what was closed is opened again.
    if (isOwn && sdk.realtime.status === "disconnected") void sdk.realtime.connect().catch(() => {});
    return () => {
      if (isOwn) sdk.realtime.disconnect();
    };
  }, [sdk, isOwn]);
  useEffect(() => {
    if (isOwn && token) sdk.realtime.setToken(token);
  }, [sdk, isOwn, token]);
  const value = useMemo(
    () => ({ sdk, realtime: sdk.realtime, projectId: sdk.projectId, baseUrl: sdk.baseUrl }),
    [sdk],
  );
  return <Context.Provider value={value}>{children}</Context.Provider>;
}

/** The client of the nearest provider. */
export function useFlarelet(): FlareletContext {
  const context = useContext(Context);
  if (!context) throw new Error("useFlarelet needs a <FlareletProvider> around the component");
  return context;
}
