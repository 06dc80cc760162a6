// A value of every kind that JavaScript can store, and the JSON that says exactly which value one is.

const buffer = () => new Uint8Array([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]).buffer;

const cyclic = () => {
  const self = { name: "loop", list: [] };
  self.self = self;
  self.list.push(self);
  return self;
};

const twice = () => {
  const shared = { n: 1 };
  return { first: shared, second: shared, list: [shared] };
};

const views = () => {
  const bytes = buffer();
  return { whole: bytes, first: new Uint8Array(bytes, 0, 4), second: new Uint16Array(bytes, 4, 2) };
};

const withHole = (...rest) => {
  const list = ["a", "b", "c", ...rest];
  delete list[1];
  return list;
};

export const VALUES = {
  "string/empty": () => "",
  "string/ascii": () => "hello",
  "string/latin1": () => "Grüße, ÿ\u0000\u0080",
  "string/two-byte": () => "Ωmega 日本語",
  "string/astral": () => "🙂 a𝒳",
  "string/long": () => "日".repeat(5000),
  "string/lone-surrogate": () => "a\ud800b",
  "number/zero": () => 0,
  "number/small": () => -7,
  "number/smi-edges": () => [1073741823, 1073741824, -1073741824, -1073741825, 2147483648, -2147483649],
  "number/safe-edges": () => [9007199254740991, -9007199254740991],
  "number/unsafe": () => [9007199254740992, 1e21, 1.7976931348623157e308, 5e-324],
  "number/float": () => [1.5, -0.1, 3.0],
  "number/special": () => [NaN, Infinity, -Infinity, -0],
  "bigint/small": () => [0n, 5n, -5n],
  "bigint/large": () => [18446744073709551615n, -18446744073709551616n, 2n ** 200n],
  "boolean/both": () => [true, false],
  "null/alone": () => null,
  "undefined/inside": () => ({ here: undefined, list: [undefined, null] }),
  "date/plain": () => new Date(1782864000123),
  "date/before-epoch": () => new Date(-86400001),
  "date/nested": () => ({ at: new Date(0), list: [new Date(1000)] }),
  "object/empty": () => ({}),
  "object/nested": () => ({ a: { b: { c: [1, { d: "e" }] } }, "clé Ω": 1, "": 2 }),
  "object/integer-keys": () => ({ b: 1, 10: "ten", 2: "two", "-1": "minus", 4294967296: "big" }),
  "object/dict-method-names": () => ({ items: 1, get: 2, keys: 3 }),
  "object/class-instance": () => new (class Point { constructor() { this.x = 1; } })(),
  "object/cyclic": cyclic,
  "object/shared": twice,
  "array/empty": () => [],
  "array/mixed": () => [1, "two", [3, [4]], null, true, 1.5],
  "array/hole": () => withHole(),
  "array/hole-among-others": () => withHole(new Date(5), new Map([["k", 1]]), new Set([2]), { x: 1.0, y: undefined }, 9n),
  "array/hole-and-buffers": () => withHole(new Uint8Array([7, 8]), buffer(), new Float64Array([0.5])),
  "array/hole-and-errors": () => withHole(new TypeError("bad")),
  "array/preallocated": () => new Array(4).fill(0),
  "array/preallocated-objects": () => Array.from(new Array(2), (_, index) => ({ index, when: new Date(index) })),
  "array/only-length": () => new Array(3),
  "array/extra-property": () => Object.assign([1, 2], { extra: "x" }),
  "map/strings": () => new Map([["b", 1], ["a", { deep: new Map([["x", 2]]) }]]),
  "map/other-keys": () => new Map([[2, "two"], [true, "yes"], [null, "nothing"], ["2", "text"]]),
  "map/empty": () => new Map(),
  "set/mixed": () => new Set(["a", 2, true, null, 2n ** 64n]),
  "set/empty": () => new Set(),
  "bytes/uint8": () => new Uint8Array([0, 127, 128, 255]),
  "bytes/empty": () => new Uint8Array(0),
  "bytes/buffer": buffer,
  "bytes/part-of-buffer": () => new Uint8Array(buffer(), 3, 5),
  "bytes/clamped": () => new Uint8ClampedArray([1, 255]),
  "bytes/int8": () => new Int8Array([-1, 1]),
  "bytes/int16": () => new Int16Array([-2, 2]),
  "bytes/uint16": () => new Uint16Array([65535]),
  "bytes/int32": () => new Int32Array([-3]),
  "bytes/uint32": () => new Uint32Array([4294967295]),
  "bytes/float32": () => new Float32Array([1.5, -0.25]),
  "bytes/float64": () => new Float64Array([Math.PI]),
  "bytes/bigint64": () => new BigInt64Array([-(2n ** 63n)]),
  "bytes/biguint64": () => new BigUint64Array([2n ** 64n - 1n]),
  "bytes/dataview": () => new DataView(buffer(), 2, 3),
  "bytes/resizable": () => new ArrayBuffer(4, { maxByteLength: 16 }),
  "bytes/view-of-resizable": () => new Uint8Array(new ArrayBuffer(4, { maxByteLength: 16 })),
  "bytes/part-of-resizable": () => new Uint16Array(new ArrayBuffer(8, { maxByteLength: 16 }), 2, 2),
  "bytes/views-of-one-buffer": views,
  "error/plain": () => new Error("went wrong"),
  "error/type": () => new TypeError("bad type"),
  "error/range": () => new RangeError("out of range"),
  "error/syntax": () => new SyntaxError("Ω"),
  "error/cause": () => new Error("outer", { cause: new RangeError("inner") }),
  "error/properties": () => Object.assign(new Error("failed"), { code: 42, detail: { at: [1] } }),
  "error/renamed": () => Object.assign(new Error("mine"), { name: "MyError" }),
  "error/aggregate": () => new AggregateError([new Error("one")], "many"),
  "error/no-message": () => new Error(),
  "error/nested": () => ({ failure: new TypeError("inside"), after: 1 }),
  "regexp/flags": () => /a+Ω?/giu,
  "regexp/nested": () => ({ pattern: /x/, when: new Date(7), list: [1, new Map([["k", new Set([1])]])] }),
  "boxed/number": () => new Number(5),
  "boxed/string": () => new String("box"),
  "boxed/boolean": () => new Boolean(false),
  "boxed/bigint": () => Object(7n),
  "boxed/nested": () => ({ n: new Number(1.5), bytes: new Uint8Array([1]), at: new Date(3) }),
};

const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

/** Say in JSON which value `value` is; what JSON has no word for is an object with the member `$t`. */
export function described(value, outer = []) {
  if (value === undefined) return { $t: "undefined" };
  if (value === null || typeof value === "boolean" || typeof value === "string") return value;
  if (typeof value === "bigint") return { $t: "bigint", v: String(value) };
  if (typeof value === "number") {
    if (Number.isFinite(value) && !Object.is(value, -0)) return value;
    return { $t: "float", v: Object.is(value, -0) ? "-0" : String(value) };
  }
  if (outer.includes(value)) return { $t: "cycle", up: outer.length - outer.lastIndexOf(value) };
  const inside = [...outer, value];
  const each = (item) => described(item, inside);
  if (value instanceof Date) return { $t: "date", ms: value.getTime() };
  if (value instanceof Map) return { $t: "map", items: Array.from(value, (pair) => pair.map(each)) };
  if (value instanceof Set) return { $t: "set", items: Array.from(value, each) };
  if (value instanceof RegExp) return { $t: "regexp", source: value.source, flags: value.flags };
  if (value instanceof Error) {
    const error = { $t: "error", name: value.name, message: value.message };
    const own = Object.entries(value).filter(([key]) => !["name", "message", "stack", "cause"].includes(key));
    if (own.length > 0) error.own = Object.fromEntries(own.map(([key, item]) => [key, each(item)]));
    return value.cause === undefined ? error : { ...error, cause: each(value.cause) };
  }
  if (value instanceof ArrayBuffer) return { $t: "bytes", as: "ArrayBuffer", hex: hex(new Uint8Array(value)) };
  if (ArrayBuffer.isView(value)) {
    const bytes = new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
    return { $t: "bytes", as: value.constructor.name, hex: hex(bytes) };
  }
  if (value instanceof Number || value instanceof String || value instanceof Boolean || value instanceof BigInt) {
    return each(value.valueOf());
  }
  if (Array.isArray(value)) return Array.from(value, (item, index) => (index in value ? each(item) : { $t: "hole" }));
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, each(item)]));
}

/** Make the value that such JSON says. */
export function made(json) {
  if (json === null || typeof json !== "object") return json;
  if (Array.isArray(json)) return json.map(made);
  switch (json.$t) {
    case "undefined": return undefined;
    case "bigint": return BigInt(json.v);
    case "float": return Number(json.v);
    case "date": return new Date(json.ms);
    case "map": return new Map(json.items.map(([key, item]) => [made(key), made(item)]));
    case "set": return new Set(json.items.map(made));
    case "error": return new Error(json.message);
    case "bytes": return new Uint8Array(json.hex.match(/../g)?.map((pair) => parseInt(pair, 16)) ?? []);
    default: return Object.fromEntries(Object.entries(json).map(([key, item]) => [key, made(item)]));
  }
}
