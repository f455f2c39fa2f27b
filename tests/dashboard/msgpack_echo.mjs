// Reads a line of hexadecimal msgpack, decodes it with the dashboard's codec, encodes it again, and writes it back.
import { createInterface } from "node:readline";

const { decode, encode } = await import(process.argv[2]);
for await (const line of createInterface({ input: process.stdin })) {
  try {
    const bytes = new Uint8Array(Buffer.from(line, "hex"));
    console.log(Buffer.from(encode(decode(bytes))).toString("hex"));
  } catch (error) {
    console.log(`error ${error.name}`);
  }
}
