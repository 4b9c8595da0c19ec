// The photos of a zip: its directory is read at once, a photo is unpacked when its turn comes, nothing is kept unpacked.

import { isImage } from "./files.js";
import { Failure } from "./service.js";

const ENTRIES_MAX = 10_000, DIRECTORY_BYTES_MAX = 8e6;
// Holds where the service has not told its own bound.
const PHOTO_BYTES_MAX = 1e8;
// The record at the end of a zip has 22 bytes, and behind it a comment of at most 65,535.
const END = 0x06054b50, END_BYTES = 22, COMMENT_BYTES_MAX = 0xffff;
const ENTRY = 0x02014b50, ENTRY_BYTES = 46, LOCAL = 0x04034b50, LOCAL_BYTES = 30;
const STORED = 0, DEFLATED = 8, IS_ENCRYPTED = 1, IN_ZIP64 = 0xffffffff;
// What file managers put beside the photos: folders, hidden files, the metadata of a Mac.
const IS_BESIDE = /\/$|(^|\/)(\.|__MACOSX\/|Thumbs\.db$|desktop\.ini$)/i;

/** Return what a zip has, in its order: each with a `name` and `open`, which unpacks it or throws a Failure. */
export async function ofZip(file) {
  let found;
  try {
    found = (await directoryOf(file)).filter(({ name }) => !IS_BESIDE.test(name));
    if (!found.length) throw new Failure("There is nothing in this zip.");
  } catch (failure) {
    const known = failure instanceof Failure ? failure : new Failure("This zip cannot be read.");
    return [{ name: file.name, open: async () => { throw known; } }];
  }
  return found.map((entry) => ({ name: entry.name, open: (bytesMax) => unpacked(file, entry, bytesMax) }));
}

const bytesOf = async (file, from, until) => new DataView(await file.slice(from, until).arrayBuffer());

function text(view, from, bytes) {
  const found = new Uint8Array(view.buffer, from, bytes);
  // Old programs name files in the letters of their machine; those that are not UTF-8 are read one byte a letter.
  try { return new TextDecoder("utf-8", { fatal: true }).decode(found); } catch { return new TextDecoder("latin1").decode(found); }
}

async function directoryOf(file) {
  const tail = await bytesOf(file, Math.max(0, file.size - END_BYTES - COMMENT_BYTES_MAX), file.size);
  let at = tail.byteLength - END_BYTES;
  while (at >= 0 && tail.getUint32(at, true) !== END) at -= 1;
  if (at < 0) throw new Failure("This is no zip, or its end is missing.");
  const count = tail.getUint16(at + 10, true), bytes = tail.getUint32(at + 12, true), from = tail.getUint32(at + 16, true);
  if (count > ENTRIES_MAX || bytes > DIRECTORY_BYTES_MAX || from === IN_ZIP64) {
    throw new Failure(`This zip is too large for this page: it takes ${ENTRIES_MAX.toLocaleString("en")} files and 4 GB. Unpack it and drop its folder.`);
  }
  const view = await bytesOf(file, from, from + bytes), entries = [];
  for (let place = 0; entries.length < count;) {
    if (view.getUint32(place, true) !== ENTRY) throw new Failure("This zip is damaged.");
    const [nameBytes, extraBytes, commentBytes] = [28, 30, 32].map((field) => view.getUint16(place + field, true));
    entries.push({
      name: text(view, place + ENTRY_BYTES, nameBytes),
      flags: view.getUint16(place + 8, true), method: view.getUint16(place + 10, true),
      packed: view.getUint32(place + 20, true), size: view.getUint32(place + 24, true), from: view.getUint32(place + 42, true),
    });
    place += ENTRY_BYTES + nameBytes + extraBytes + commentBytes;
  }
  return entries;
}

async function unpacked(file, { name, flags, method, packed, size, from }, bytesMax) {
  const base = name.split("/").pop();
  if (!isImage({ name: base, type: "" })) throw new Failure("This file is no photo.");
  if (flags & IS_ENCRYPTED) throw new Failure("This photo is behind a password.");
  if (method !== STORED && method !== DEFLATED) throw new Failure("This photo is packed in a way that browsers cannot unpack.");
  const max = Math.min(bytesMax, PHOTO_BYTES_MAX);
  if (size > max) throw new Failure(`The file has more than ${max / 1e6} MB; send a smaller image.`);
  let parts;
  try {
    const head = await bytesOf(file, from, from + LOCAL_BYTES);
    if (head.getUint32(0, true) !== LOCAL) throw new RangeError("no local header");
    const begin = from + LOCAL_BYTES + head.getUint16(26, true) + head.getUint16(28, true);
    const data = file.slice(begin, begin + packed);
    parts = method === STORED ? [data] : await inflated(data, size);
  } catch {
    throw new Failure("This photo is damaged in the zip.");
  }
  const photo = new File(parts, base);
  if (photo.size !== size) throw new Failure("This photo is damaged in the zip.");
  return photo;
}

/** Return what `data` unpacks to; a zip that says less than it holds is read no further than it says. */
async function inflated(data, size) {
  const reader = data.stream().pipeThrough(new DecompressionStream("deflate-raw")).getReader(), parts = [];
  for (let bytes = 0; ;) {
    const { done, value } = await reader.read();
    if (done) return parts;
    bytes += value.length;
    if (bytes > size) { await reader.cancel(); throw new RangeError("more than it says"); }
    parts.push(value);
  }
}
