/** Errors: the server's numbered ones, and the client's own, which begin with 9. */

/** The frame an error is about, as far as the server could read it. */
export interface ErrorReference {
  type?: string;
  channel?: string;
  id?: string;
  field?: string;
}

/** Numbers of what can go wrong on this side of the socket. */
export const ClientCode = {
  QUEUE_FULL: 901,
  TIMEOUT: 902,
  DISCONNECTED: 903,
  NOT_SERIALIZABLE: 904,
  CONNECT_FAILED: 905,
  HTTP: 906,
  BAD_FRAME: 907,
  BAD_OPTION: 908,
} as const;

/** Something that went wrong, with a number that stays. `retry`: the same may succeed later. */
export class RealtimeError extends Error {
  constructor(
    readonly code: number,
    name: string,
    message: string,
    readonly retry = false,
    readonly ref: ErrorReference = {},
  ) {
    super(message);
    this.name = name;
  }
}

/** Make one of the client's own errors. */
export function clientError(
  name: keyof typeof ClientCode,
  message: string,
  retry = false,
  ref: ErrorReference = {},
): RealtimeError {
  return new RealtimeError(ClientCode[name], name, message, retry, ref);
}
