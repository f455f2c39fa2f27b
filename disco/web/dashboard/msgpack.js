// The part of msgpack that Disco's messages use: nil, booleans, numbers, strings, bin, arrays, maps, extensions.
// Source: the MessagePack specification.

/** An extension value: an application's type and its bytes. */
export class Extension {
  constructor(type, data) {
    this.type = type;
    this.data = data;
  }
}

const TEXT = new TextEncoder();
const PLAIN = new TextDecoder("utf-8", { fatal: true });

/** Write a value. Uint8Array becomes bin; whole numbers become integers, all others float64. */
export function encode(value) {
  const parts = [];
  write(value, parts);
  const whole = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

function write(value, parts) {
  if (value === null || value === undefined) parts.push(Uint8Array.of(0xc0));
  else if (typeof value === "boolean") parts.push(Uint8Array.of(value ? 0xc3 : 0xc2));
  else if (typeof value === "number") parts.push(numberBytes(value));
  else if (typeof value === "string") {
    const text = TEXT.encode(value);
    parts.push(head(text.length, [0xa0, 32], [0xd9, 0xda, 0xdb]), text);
  } else if (value instanceof Uint8Array) parts.push(head(value.length, null, [0xc4, 0xc5, 0xc6]), value);
  else if (value instanceof Extension) parts.push(extensionHead(value), value.data);
  else if (Array.isArray(value)) {
    parts.push(head(value.length, [0x90, 16], [null, 0xdc, 0xdd]));
    for (const item of value) write(item, parts);
  } else {
    const entries = Object.entries(value);
    parts.push(head(entries.length, [0x80, 16], [null, 0xde, 0xdf]));
    for (const [key, item] of entries) {
      write(key, parts);
      write(item, parts);
    }
  }
}

/** Write a size behind its marker: in the marker itself below a limit, else in 1, 2 or 4 bytes. */
function head(size, fixed, [one, two, four]) {
  if (fixed && size < fixed[1]) return Uint8Array.of(fixed[0] | size);
  if (one !== null && size < 0x100) return Uint8Array.of(one, size);
  if (size < 0x10000) return Uint8Array.of(two, size >> 8, size & 0xff);
  return sized(5, four, (view) => view.setUint32(1, size));
}

function sized(length, marker, fill) {
  const bytes = new Uint8Array(length);
  bytes[0] = marker;
  fill(new DataView(bytes.buffer));
  return bytes;
}

function extensionHead({ type, data }) {
  const short = [1, 2, 4, 8, 16].indexOf(data.length);
  if (short >= 0) return Uint8Array.of(0xd4 + short, type);
  return Uint8Array.of(...head(data.length, null, [0xc7, 0xc8, 0xc9]), type);
}

function numberBytes(value) {
  if (Number.isInteger(value) && Math.abs(value) <= 0xffffffff && !Object.is(value, -0)) {
    if (value >= 0 && value < 0x80) return Uint8Array.of(value);
    if (value < 0 && value >= -32) return Uint8Array.of(value & 0xff);
    if (value >= 0) return sized(5, 0xce, (view) => view.setUint32(1, value));
    if (value >= -0x80000000) return sized(5, 0xd2, (view) => view.setInt32(1, value));
  }
  return sized(9, 0xcb, (view) => view.setFloat64(1, value));
}

/** Read one value; what follows it, or is missing, is an error. */
export function decode(bytes) {
  const reader = new Reader(bytes);
  const value = reader.value();
  if (reader.at !== bytes.length) throw new RangeError(`${bytes.length - reader.at} bytes follow the value`);
  return value;
}

class Reader {
  constructor(bytes) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.at = 0;
  }

  take(size) {
    if (this.at + size > this.bytes.length) throw new RangeError("the message ends in the middle of a value");
    this.at += size;
    return this.at - size;
  }

  uint(size) {
    const at = this.take(size);
    if (size === 8) return Number(this.view.getBigUint64(at));
    return size === 1 ? this.view.getUint8(at) : size === 2 ? this.view.getUint16(at) : this.view.getUint32(at);
  }

  int(size) {
    const at = this.take(size);
    if (size === 8) return Number(this.view.getBigInt64(at));
    return size === 1 ? this.view.getInt8(at) : size === 2 ? this.view.getInt16(at) : this.view.getInt32(at);
  }

  slice(size) {
    const at = this.take(size);
    return this.bytes.subarray(at, at + size);
  }

  text(size) {
    return PLAIN.decode(this.slice(size));
  }

  array(size) {
    return Array.from({ length: this.bounded(size) }, () => this.value());
  }

  map(size) {
    const entries = [];
    for (let left = this.bounded(size); left > 0; left--) entries.push([this.value(), this.value()]);
    return Object.fromEntries(entries);
  }

  /** Every item takes a byte at least: a size that promises more is a lie. */
  bounded(size) {
    if (size > this.bytes.length - this.at) throw new RangeError("the message is shorter than it says");
    return size;
  }

  extension(size) {
    return new Extension(this.int(1), this.slice(size));
  }

  value() {
    const marker = this.uint(1);
    if (marker < 0x80) return marker;
    if (marker < 0x90) return this.map(marker & 0x0f);
    if (marker < 0xa0) return this.array(marker & 0x0f);
    if (marker < 0xc0) return this.text(marker & 0x1f);
    if (marker >= 0xe0) return marker - 0x100;
    switch (marker) {
      case 0xc0: return null;
      case 0xc2: return false;
      case 0xc3: return true;
      case 0xc4: case 0xc5: case 0xc6: return this.slice(this.uint(1 << (marker - 0xc4)));
      case 0xc7: case 0xc8: case 0xc9: return this.extension(this.uint(1 << (marker - 0xc7)));
      case 0xca: return this.view.getFloat32(this.take(4));
      case 0xcb: return this.view.getFloat64(this.take(8));
      case 0xcc: case 0xcd: case 0xce: case 0xcf: return this.uint(1 << (marker - 0xcc));
      case 0xd0: case 0xd1: case 0xd2: case 0xd3: return this.int(1 << (marker - 0xd0));
      case 0xd4: case 0xd5: case 0xd6: case 0xd7: case 0xd8: return this.extension(1 << (marker - 0xd4));
      case 0xd9: case 0xda: case 0xdb: return this.text(this.uint(1 << (marker - 0xd9)));
      case 0xdc: case 0xdd: return this.array(this.uint(marker === 0xdc ? 2 : 4));
      case 0xde: case 0xdf: return this.map(this.uint(marker === 0xde ? 2 : 4));
      default: throw new RangeError(`the byte ${marker} begins no value`);
    }
  }
}
