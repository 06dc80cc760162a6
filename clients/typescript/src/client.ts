/** The whole client of one project. */

import { RealtimeClient, type RealtimeClientOptions } from "./realtime.js";

/** Options of `createClient`. The names in the second half are those of other SDKs, for migration. */
export interface FlareletConfig extends RealtimeClientOptions {
  projectSlug?: string;
  serverURL?: string;
  apiKeyAuth?: string;
}

export class FlareletClient {
  readonly realtime: RealtimeClient;
  readonly projectId: string;

  constructor({ projectSlug, serverURL, apiKeyAuth, ...options }: FlareletConfig) {
    this.projectId = options.projectId ?? projectSlug ?? "";
    this.realtime = new RealtimeClient({
      ...options,
      projectId: this.projectId,
      baseUrl: options.baseUrl ?? serverURL,
      apiKey: options.apiKey ?? apiKeyAuth,
    });
  }

  /** The server's address without `/v1`. */
  get baseUrl(): string {
    return this.realtime.baseUrl;
  }
}

/** Make the client of one project. It connects when it is first used. */
export function createClient(config: FlareletConfig): FlareletClient {
  return new FlareletClient(config);
}
